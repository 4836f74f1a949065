package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest/distro"
)

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func newClient(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{Vault: filepath.Join(t.TempDir(), "vault"), Backoff: time.Millisecond, Stall: 5 * time.Second, Retries: 3}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// serveRange answers as a good server does.
func serveRange(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"`+digest(b)[:8]+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func inVault(t *testing.T, c *Client, want []byte) {
	t.Helper()
	r, err := c.Open(digest(want))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the vault gives %d bytes and %v, want %d bytes", len(got), err, len(want))
	}
	left, _ := os.ReadDir(filepath.Join(c.opts.Vault, "partial"))
	if len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

type meter struct {
	sync.Mutex
	files      int
	total, got int64
	done       int
}

func (m *meter) Start(_ string, files int, n int64) {
	m.Lock()
	m.files, m.total = files, n
	m.Unlock()
}
func (m *meter) Add(n int64) { m.Lock(); m.got += n; m.Unlock() }
func (m *meter) Done()       { m.Lock(); m.done++; m.Unlock() }

func TestFetchManyInParallel(t *testing.T) {
	files := make(map[string][]byte)
	var running, most atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		defer running.Add(-1)
		time.Sleep(5 * time.Millisecond)
		serveRange(files[r.URL.Path])(w, r)
	})
	var list []distro.File
	for i := range 40 {
		b := content(1+i*997, uint64(i))
		name := fmt.Sprintf("/f%d", i)
		files[name] = b
		list = append(list, distro.File{URL: base + name, SHA256: digest(b), Size: int64(len(b))})
	}
	list = append(list, list[0]) // a duplicate
	m := &meter{}
	c := newClient(t, func(o *Options) { o.Progress = m })
	if err := c.Fetch(t.Context(), "files", list); err != nil {
		t.Fatal(err)
	}
	for _, b := range files {
		inVault(t, c, b)
	}
	if m.files != 40 || m.got != m.total || m.done != 1 {
		t.Errorf("progress: %d files, %d of %d bytes, done %d times", m.files, m.got, m.total, m.done)
	}
	if n := most.Load(); n < 2 || n > 6 {
		t.Errorf("%d requests at the same time, want 2 to 6", n)
	}
}

// TestResumeAtEveryOffset leaves a partial file of many lengths behind, with and without the note of an earlier
// process, right and wrong bytes, from servers that know ranges and that do not.
func TestResumeAtEveryOffset(t *testing.T) {
	b := content(5000, 1)
	servers := map[string]http.HandlerFunc{
		"ranges": serveRange(b),
		"none":   func(w http.ResponseWriter, _ *http.Request) { w.Write(b) },
		"wrong range": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 1-4999/5000")
				w.WriteHeader(http.StatusPartialContent)
				w.Write(b[1:])
				return
			}
			w.Write(b)
		},
		"416": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			w.Write(b)
		},
	}
	for name, h := range servers {
		t.Run(name, func(t *testing.T) {
			url := serve(t, h)
			c := newClient(t, nil)
			for off := 0; off <= len(b)+10; off += 1 + rand.IntN(400) {
				for _, wrong := range []bool{false, true} {
					part := bytes.Clone(b[:min(off, len(b))])
					if off > len(b) {
						part = append(part, 1, 2, 3)
					}
					if wrong && len(part) > 0 {
						part[len(part)/2] ^= 1
					}
					os.Remove(c.Path(digest(b)))
					partial := filepath.Join(c.opts.Vault, "partial", digest(b))
					os.WriteFile(partial, part, 0o600)
					if off%2 == 0 {
						os.WriteFile(partial+".from", []byte(url+"\n\"stale\""), 0o600)
					}
					if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: int64(len(b))}}); err != nil {
						t.Fatalf("offset %d, wrong %v: %v", off, wrong, err)
					}
					inVault(t, c, b)
				}
			}
		})
	}
}

func TestResumeSendsRangeAndIfRange(t *testing.T) {
	b := content(100_000, 2)
	var ranges []string
	first := true
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
		w.Header().Set("Etag", `"v1"`)
		if first {
			first = false
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.Write(b[:40_000])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
	m := &meter{}
	c := newClient(t, func(o *Options) { o.Progress = m })
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: int64(len(b))}}); err != nil {
		t.Fatal(err)
	}
	inVault(t, c, b)
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], "bytes=") || !strings.HasSuffix(ranges[1], `- "v1"`) || ranges[1] == `bytes=0- "v1"` {
		t.Errorf("requests: %q", ranges)
	}
	if m.got != int64(len(b)) {
		t.Errorf("progress counted %d bytes, want %d", m.got, len(b))
	}
}

func TestTransientFailuresAreRetried(t *testing.T) {
	b := content(3000, 6)
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			w.WriteHeader(503)
		case 2:
			w.WriteHeader(429)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			serveRange(b)(w, r)
		}
	})
	c := newClient(t, nil)
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: 3000}}); err != nil {
		t.Fatal(err)
	}
	inVault(t, c, b)
}

func TestGet(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.Write([]byte("hello"))
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		default:
			http.NotFound(w, r)
		}
	})
	c := newClient(t, nil)
	b, err := c.Get(t.Context(), distro.Document{URL: url + "/ok", Limit: 5})
	if err != nil || string(b) != "hello" {
		t.Fatalf("got %q, %v", b, err)
	}
	for _, p := range []string{"/ok", "/endless"} {
		if _, err := c.Get(t.Context(), distro.Document{URL: url + p, Limit: 4}); err == nil || !strings.Contains(err.Error(), "more than 4 B") {
			t.Errorf("%s: got %v", p, err)
		}
	}
	if _, err := c.Get(t.Context(), distro.Document{URL: url + "/none", Limit: 4}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("404: got %v", err)
	}
	name := filepath.Join(t.TempDir(), "x")
	os.WriteFile(name, []byte("local"), 0o600)
	if b, err := c.Get(t.Context(), distro.Document{URL: "file://" + name, Limit: 9}); err != nil || string(b) != "local" {
		t.Errorf("file: got %q, %v", b, err)
	}
	if _, err := c.Get(t.Context(), distro.Document{URL: "file://" + name + ".no", Limit: 9}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	for _, bad := range []string{"file:relative", "file://host/x", "ftp://h/x", "gopher://x", "/x", "http://", "\x7f"} {
		if _, err := c.Get(t.Context(), distro.Document{URL: bad, Limit: 9}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAdd(t *testing.T) {
	b := content(70_000, 8)
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.Write(b[:30_000])
			panic(http.ErrAbortHandler)
		}
		w.Write(b)
	})
	m := &meter{}
	c := newClient(t, func(o *Options) { o.Progress = m })
	for range 2 {
		f, err := c.Add(t.Context(), "archive", distro.Document{URL: url, Limit: 1 << 20})
		if err != nil || f.SHA256 != digest(b) || f.Size != int64(len(b)) {
			t.Fatalf("got %+v, %v", f, err)
		}
		inVault(t, c, b)
	}
	if m.got != 2*int64(len(b)) || m.done != 2 {
		t.Errorf("progress: %+v", m)
	}
	if _, err := c.Add(t.Context(), "archive", distro.Document{URL: url, Limit: 100}); err == nil {
		t.Error("the limit was not kept")
	}
	inVault(t, c, b)
}

func TestOfflineListsEverything(t *testing.T) {
	b := content(2000, 10)
	name := filepath.Join(t.TempDir(), "local")
	os.WriteFile(name, b, 0o600)
	c := newClient(t, func(o *Options) { o.Offline = true })
	list := []distro.File{
		{URL: "https://user:secret@a.example/one.deb?token=secret", SHA256: strings.Repeat("1", 64), Size: 5 << 20},
		{URL: "https://a.example/two.deb", SHA256: strings.Repeat("2", 64), Size: 100},
		{URL: "file://" + name, SHA256: digest(b), Size: 2000},
	}
	err := c.Fetch(t.Context(), "x", list)
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Files) != 2 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"one.deb  5.0 MiB", "two.deb  100 B", "2 files"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells a secret: %v", err)
	}
	if err := c.Fetch(t.Context(), "x", list[2:]); err != nil {
		t.Fatalf("a local file needs no network: %v", err)
	}
	inVault(t, c, b)
	if _, err := c.Get(t.Context(), distro.Document{URL: "https://a.example/InRelease", Limit: 1}); !errors.As(err, &missing) {
		t.Errorf("get: %v", err)
	}
}

func TestErrorsTellNoSecrets(t *testing.T) {
	c := newClient(t, func(o *Options) { o.Retries = -1 })
	addr := strings.TrimPrefix(serve(t, http.NotFound), "http://")
	for _, url := range []string{
		"http://joe:hunter2@" + addr + "/x?key=hunter2#hunter2",
		"http://hunter2@127.0.0.1:1/refused",
		"http://joe:hunter2@no such host/", "http://joe:hunter2@[bad/", "ftp://joe:hunter2@h/",
	} {
		_, err := c.Get(t.Context(), distro.Document{URL: url, Limit: 1})
		ferr := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: strings.Repeat("a", 64), Size: 1}})
		for _, e := range []error{err, ferr} {
			if e == nil || strings.Contains(e.Error(), "hunter2") {
				t.Errorf("%v", e)
			}
		}
	}
	if got := scrub(errors.New(`invalid proxy "http://a:b@c@proxy:1/x" and //u@h`)).Error(); got != `invalid proxy "http://proxy:1/x" and //h` {
		t.Error(got)
	}
}

// TestFourClientsOneTransfer has four clients, as four processes would, want the same slow file: it travels once.
func TestFourClientsOneTransfer(t *testing.T) {
	b := content(50_000, 12)
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		time.Sleep(100 * time.Millisecond)
		serveRange(b)(w, r)
	})
	vault := filepath.Join(t.TempDir(), "v")
	var wg sync.WaitGroup
	var last *Client
	for range 4 {
		c := newClient(t, func(o *Options) { o.Vault = vault })
		last = c
		wg.Go(func() {
			if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: 50_000}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	inVault(t, last, b)
	if n.Load() != 1 {
		t.Errorf("the file was asked for %d times", n.Load())
	}
}

// TestKilledProcessIsContinued kills a real process in the middle of a transfer.
func TestKilledProcessIsContinued(t *testing.T) {
	b := content(300_000, 13)
	if vault := os.Getenv("FETCH_TEST_VAULT"); vault != "" {
		c, err := New(Options{Vault: vault})
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(c.Fetch(context.Background(), "x", []distro.File{{URL: os.Getenv("FETCH_TEST_URL"), SHA256: digest(b), Size: int64(len(b))}}))
	}
	half := make(chan struct{})
	var once sync.Once
	var second string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"x"`)
		if r.Header.Get("Range") != "" {
			second = r.Header.Get("Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:150_000])
		w.(http.Flusher).Flush()
		once.Do(func() { close(half) })
		<-r.Context().Done()
	})
	c := newClient(t, nil)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessIsContinued$")
	cmd.Env = append(os.Environ(), "FETCH_TEST_VAULT="+c.opts.Vault, "FETCH_TEST_URL="+url)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	partial := filepath.Join(c.opts.Vault, "partial", digest(b))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(partial); err == nil && info.Size() == 150_000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process wrote nothing")
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: int64(len(b))}}); err != nil {
		t.Fatal(err)
	}
	inVault(t, c, b)
	if second != "bytes=150000-" {
		t.Errorf("went on with %q", second)
	}
}

func TestCancel(t *testing.T) {
	started := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("x"))
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	c := newClient(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if err := c.Fetch(ctx, "x", []distro.File{{URL: url, SHA256: strings.Repeat("a", 64), Size: 100}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestUnknownSize: a base image is pinned by its digest alone.
func TestUnknownSize(t *testing.T) {
	b := content(40_000, 21)
	for name, h := range map[string]http.HandlerFunc{
		"ranges":  serveRange(b),
		"chunked": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); w.Write(b) },
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, h)
			c := newClient(t, nil)
			for _, part := range []int{0, 1, 20_000, 40_000} {
				os.Remove(c.Path(digest(b)))
				os.WriteFile(filepath.Join(c.opts.Vault, "partial", digest(b)), b[:part], 0o600)
				for range 2 { // the second finds it
					if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b)}}); err != nil {
						t.Fatalf("%d bytes there: %v", part, err)
					}
					inVault(t, c, b)
				}
			}
			other := content(10, 22)
			if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(other)}}); err == nil || !strings.Contains(err.Error(), "sha256") {
				t.Errorf("other bytes: %v", err)
			}
		})
	}
	c := newClient(t, nil)
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: serve(t, serveRange(nil)), SHA256: emptySHA256}}); err != nil {
		t.Errorf("the empty file: %v", err)
	}
}
