package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve DIR serves a directory on loopback, as $SERVER, its host and port as $HOST, until the script ends; used as a proxy it answers for every host.
// Every answer is a line of $WORK/requests: status, URL and Range. DIR/behave spoils answers, see server.spoil.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve DIR")
	}
	s := httptest.NewServer(&server{dir: ts.MkAbs(args[0]), log: ts.MkAbs("requests"), count: map[string]int{}})
	ts.Defer(s.Close)
	ts.Setenv("SERVER", s.URL)
	ts.Setenv("HOST", strings.TrimPrefix(s.URL, "http://"))
}

type server struct {
	dir, log string
	mu       sync.Mutex
	count    map[string]int // answers so far by path
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() { s.note(rec.status, r) }()
	body, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(filepath.Clean("/"+r.URL.Path))))
	if err != nil && s.behaviour(r.URL.Path) == nil {
		http.NotFound(rec, r)
		return
	}
	rec.Header().Set("Etag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(body))[:16]))
	if !s.spoil(rec, r, body) {
		http.ServeContent(rec, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Flush() { r.ResponseWriter.(http.Flusher).Flush() }

func (s *server) note(status int, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %s %s\n", status, r.URL, r.Header.Get("Range"))
}

// behaviour gives the words of the lines of DIR/behave for the path, without the path.
func (s *server) behaviour(path string) (lines [][]string) {
	text, _ := os.ReadFile(filepath.Join(s.dir, "behave"))
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == path {
			lines = append(lines, append(words[1:], "", ""))
		}
	}
	return lines
}

// spoil answers as the first line of DIR/behave that applies says, and reports whether one did. Lines are PATH and one of
//
//	cut BYTES TIMES   break the connection off after so many bytes, so many times
//	status CODE TIMES answer with the status, so many times
//	redirect URL
//	endless           never end
//	norange           send everything, whatever range is asked for
//	lie               send another range than the one asked for
//	wrong             send other bytes
func (s *server) spoil(w *recorder, r *http.Request, body []byte) bool {
	s.mu.Lock()
	s.count[r.URL.Path]++
	nth := s.count[r.URL.Path]
	s.mu.Unlock()
	for _, words := range s.behaviour(r.URL.Path) {
		if misbehave(w, r, body, words, nth) {
			return true
		}
	}
	return false
}

func misbehave(w *recorder, r *http.Request, body []byte, words []string, nth int) bool {
	number := func(i int) int { n, _ := strconv.Atoi(words[i]); return n }
	switch ranged := r.Header.Get("Range") != ""; {
	case words[0] == "cut" && nth <= number(2):
		http.ServeContent(&shortWriter{recorder: w, left: number(1)}, r, "", time.Time{}, bytes.NewReader(body))
	case words[0] == "status" && nth <= number(2):
		w.WriteHeader(number(1))
	case words[0] == "redirect":
		http.Redirect(w, r, words[1], http.StatusFound)
	case words[0] == "endless":
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
	case words[0] == "norange" && ranged:
		w.Write(body)
	case words[0] == "lie" && ranged:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 1-%d/%d", len(body)-1, len(body)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(body[1:])
	case words[0] == "wrong":
		body[len(body)-1] ^= 1
		w.Write(body)
	default:
		return false
	}
	return true
}

// shortWriter breaks the connection off.
type shortWriter struct {
	*recorder
	left int
}

func (s *shortWriter) Write(b []byte) (int, error) {
	n := min(len(b), s.left)
	s.left -= n
	s.recorder.Write(b[:n])
	if s.left == 0 {
		s.Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func (s *shortWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{s}, r) }
