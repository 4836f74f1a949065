package fetch

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest/distro"
)

func TestHostileServers(t *testing.T) {
	b := content(3000, 3)
	other := content(3000, 4)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", to); w.WriteHeader(302) }
	}
	tests := []struct {
		name, want string
		h          http.HandlerFunc
	}{
		{"same length, other bytes", "sha256", func(w http.ResponseWriter, _ *http.Request) { w.Write(other) }},
		{"endless", "more than 3000 bytes", endless},
		{"longer, announced", "4000 bytes, not 3000", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "4000")
			w.Write(content(4000, 1))
		}},
		{"shorter, announced", "10 bytes, not 3000", func(w http.ResponseWriter, _ *http.Request) { w.Write(b[:10]) }},
		{"shorter, chunked", "too early", func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); w.Write(b[:10]) }},
		{"cut every time", "EOF", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3000")
			w.Write(b[:5])
			panic(http.ErrAbortHandler)
		}},
		{"404", "404 Not Found", http.NotFound},
		{"503", "503 Service Unavailable", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"file redirect", `scheme "file"`, redirect("file:///etc/passwd")},
		{"ftp redirect", `scheme "ftp"`, redirect("ftp://localhost/x")},
		{"redirect loop", "redirect refused", redirect("/again")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, tt.h)
			c := newClient(t, nil)
			file := distro.File{URL: url, SHA256: digest(b), Size: int64(len(b))}
			err := c.Fetch(t.Context(), "x", []distro.File{file})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want it to say %q", err, tt.want)
			}
			if _, err := os.Lstat(c.Path(file.SHA256)); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("something is in the vault: %v", err)
			}
			// The next place in the list makes it good.
			file.Mirrors = []string{serve(t, serveRange(b))}
			if err := c.Fetch(t.Context(), "x", []distro.File{file}); err != nil {
				t.Fatal(err)
			}
			inVault(t, c, b)
		})
	}
}

func TestStalledServer(t *testing.T) {
	b := content(200_000, 5)
	for name, pause := range map[string]time.Duration{"silent": time.Hour, "dripping": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(b)))
				for _, c := range b {
					if _, err := w.Write([]byte{c}); err != nil {
						return
					}
					w.(http.Flusher).Flush()
					select {
					case <-r.Context().Done():
						return
					case <-time.After(pause):
					}
				}
			})
			c := newClient(t, func(o *Options) { o.Stall = 200 * time.Millisecond; o.Retries = -1 })
			start := time.Now()
			err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: digest(b), Size: int64(len(b))}})
			if !errors.Is(err, errStalled) || time.Since(start) > time.Minute {
				t.Fatalf("got %v after %v", err, time.Since(start))
			}
		})
	}
}

func TestPlainHTTPPolicy(t *testing.T) {
	c := newClient(t, func(o *Options) { o.AllowHTTP = []string{"mirror.example:8080"} })
	for url, ok := range map[string]bool{
		"https://any.example/x":           true,
		"http://any.example/x":            false,
		"http://mirror.example:8080/x":    true,
		"http://mirror.example/x":         false,
		"http://127.0.0.1:1/x":            true,
		"http://[::1]/x":                  true,
		"http://localhost/x":              true,
		"http://localhost.example/x":      false,
		"http://127.0.0.1.example/x":      false,
		"http://mirror.example:8080@e.x/": false,
	} {
		u, err := parse(url)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.check(u, false) == nil; got != ok {
			t.Errorf("%s unverified: allowed %v, want %v", url, got, ok)
		}
		if err := c.check(u, true); err != nil {
			t.Errorf("%s verified: %v", url, err)
		}
	}
}

func TestRedirectDowngrade(t *testing.T) {
	b := content(500, 9)
	plain := serve(t, serveRange(b))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	t.Cleanup(secure.Close)
	c := newClient(t, nil)
	c.http.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := c.Get(t.Context(), distro.Document{URL: secure.URL, Limit: 1 << 20}); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("unverified: got %v", err)
	}
	if got, err := c.Get(t.Context(), distro.Document{URL: secure.URL, Limit: 1 << 20, Signed: true}); err != nil || !bytes.Equal(got, b) {
		t.Errorf("signed: %v", err)
	}
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: secure.URL, SHA256: digest(b), Size: 500}}); err != nil {
		t.Errorf("by digest: %v", err)
	}
}

func TestTamperedVaultFile(t *testing.T) {
	b := content(4000, 11)
	url := serve(t, serveRange(b))
	c := newClient(t, nil)
	file := distro.File{URL: url, SHA256: digest(b), Size: 4000}
	if err := c.Fetch(t.Context(), "x", []distro.File{file}); err != nil {
		t.Fatal(err)
	}
	evil := bytes.Clone(b)
	evil[17] ^= 0x40
	for i, damage := range []func(){
		func() { os.Chmod(c.Path(file.SHA256), 0o644); os.WriteFile(c.Path(file.SHA256), evil, 0o644) },
		func() { os.Truncate(c.Path(file.SHA256), 3999) },
		func() { os.Remove(c.Path(file.SHA256)); os.Symlink("/etc/passwd", c.Path(file.SHA256)) },
	} {
		damage()
		if i == 0 { // same size: only reading finds it
			err := c.Verify(t.Context(), []distro.File{file})
			var corrupt *CorruptError
			if !errors.Is(err, distro.ErrCorrupt) || !errors.As(err, &corrupt) || corrupt.SHA256 != file.SHA256 {
				t.Fatalf("got %v", err)
			}
			if got, _ := os.ReadFile(corrupt.MovedTo); !bytes.Equal(got, evil) {
				t.Errorf("the damaged file is not at %q", corrupt.MovedTo)
			}
		}
		if err := c.Fetch(t.Context(), "x", []distro.File{file}); err != nil {
			t.Fatal(err)
		}
		inVault(t, c, b)
	}
	if _, err := c.Open(strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := c.Open("../../etc/passwd"); err == nil {
		t.Error("a name that is no digest was opened")
	}
	if err := c.Fetch(t.Context(), "x", []distro.File{{URL: url, SHA256: "../x", Size: 1}}); err == nil {
		t.Error("a name that is no digest was fetched")
	}
}
