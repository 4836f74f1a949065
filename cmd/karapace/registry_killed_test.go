package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowDoor is what stands before a registry: it lets through so many bytes a second, and remembers what is asked for.
type slowDoor struct {
	*httptest.Server
	mu             sync.Mutex
	first, arrived map[string]int64 // by blob: where it was first asked for from, and how much of it had arrived before, in bytes
}

const doorRate = 16 << 20 // bytes a second each way

func newSlowDoor(t *testing.T, registry string) *slowDoor {
	d := &slowDoor{first: map[string]int64{}, arrived: map[string]int64{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &slowly{r.Body}
		return nil
	}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.note(r)
		if r.Body != nil && r.Method == http.MethodPut {
			r.Body = &slowly{r.Body}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// note remembers where the first request for a blob wants it to begin.
func (d *slowDoor) note(r *http.Request) {
	_, blob, ok := strings.Cut(r.URL.Path, "/blobs/sha256:")
	if !ok || r.Method != http.MethodGet {
		return
	}
	var first int64
	if asked := r.Header.Get("Range"); asked != "" {
		fmt.Sscanf(asked, "bytes=%d-", &first)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.first[blob]; !again {
		d.first[blob] = first
	}
}

// goesOn makes sure that what had arrived was not asked for again, and looks at what has arrived now.
func (d *slowDoor) goesOn(t *testing.T, partials string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for blob, first := range d.first {
		if first != d.arrived[blob] {
			t.Errorf("of %s had arrived %d bytes, and it was asked for from %d on", blob, d.arrived[blob], first)
		}
	}
	d.first, d.arrived = map[string]int64{}, map[string]int64{}
	files, _ := filepath.Glob(filepath.Join(partials, "*"))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && filepath.Ext(file) == "" {
			d.arrived[filepath.Base(file)] = info.Size()
		}
	}
}

type slowly struct{ io.ReadCloser }

func (s *slowly) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 64<<10)])
	time.Sleep(time.Duration(n) * time.Second / doorRate)
	return n, err
}

const bulkSize = 8 << 20

// writeBulky is writeTiny with bytes that take a while.
func writeBulky(file string) error {
	if err := writeTiny(file); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(-1024, io.SeekEnd); err != nil { // the end of the archive
		return err
	}
	w := tar.NewWriter(f)
	bulk := io.LimitReader(rand.NewChaCha8([32]byte{1}), bulkSize)
	return errors.Join(regular(w, "usr/bulk", 0o644, bulkSize, bulk), w.Close(), f.Close())
}

// kills is how often a push and a pull are killed: KARAPACE_FAULTS=full asks for all that was promised.
func kills() int {
	if os.Getenv("KARAPACE_FAULTS") == "full" {
		return 50
	}
	return 5
}

// A push and a pull that are killed go on where they were, show nothing before they are through, and end with the same
// environment, with nothing left over.
func TestTransferKilled(t *testing.T) {
	b := newStateBench(t)
	must(t, writeBulky(filepath.Join(b.dir, "base.tar")))
	addr, stop, err := serveRegistry(t.TempDir())
	must(t, err)
	defer stop()
	door := newSlowDoor(t, addr)
	ref := strings.TrimPrefix(door.URL, "http://") + "/team/bulky:1"
	b.karapace("build", "t.toml", "--name", "t")
	want := field(b.karapace("inspect", "t", "--json"), "image_digest")

	const whole = bulkSize * int(time.Second) / doorRate
	moment := func() time.Duration { return time.Duration(rand.IntN(whole + whole/4)) }
	for range kills() {
		b.kill(moment(), "push", "t", ref)
	}
	b.karapace("push", "t", ref)

	b.karapace("destroy", "--all", "--force")
	done, partials := 0, b.path("transit", "*", "partial")
	for range kills() {
		through := b.kill(moment(), "pull", ref, "--name", "t")
		if through {
			done++
		}
		if through || strings.TrimSpace(b.karapace("list", "--json")) != "[]" { // killed after it was there
			b.same(t, want)
			b.karapace("destroy", "--all", "--force")
		}
		door.goesOn(t, partials)
	}
	b.karapace("pull", ref, "--name", "t")
	b.same(t, want)
	door.goesOn(t, partials)
	b.karapace("gc")
	if got := b.karapace("gc", "--dry-run"); !strings.Contains(got, "nothing to remove") {
		t.Errorf("left behind:\n%s", got)
	}
	t.Logf("%d of %d pulls were through before they were killed", done, kills())
}

// same makes sure that the environment is what was pushed, to the last byte.
func (b *stateBench) same(t *testing.T, image string) {
	t.Helper()
	if got := field(b.karapace("inspect", "t", "--json"), "image_digest"); got != image {
		t.Errorf("it is %s, not %s", got, image)
	}
	b.karapace("verify", "t")
	b.karapace("exec", "t", "--", "true")
}

// field is a text in a JSON document.
func field(document, name string) string {
	_, rest, _ := strings.Cut(document, `"`+name+`": "`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
