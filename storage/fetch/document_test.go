package fetch

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest/distro"
)

// keeper serves one document that changes when told, and counts how it was asked.
type keeper struct {
	body, etag, modified string
	full, unchanged      int
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if k.etag != "" {
		w.Header().Set("Etag", k.etag)
	}
	if k.modified != "" {
		w.Header().Set("Last-Modified", k.modified)
	}
	same := k.etag != "" && r.Header.Get("If-None-Match") == k.etag
	if k.etag == "" {
		same = k.modified != "" && r.Header.Get("If-Modified-Since") == k.modified
	}
	if same {
		k.unchanged++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	k.full++
	io.WriteString(w, k.body)
}

func TestKeptDocument(t *testing.T) {
	for name, k := range map[string]*keeper{
		"etag":      {etag: `"1"`, modified: "Mon, 02 Jan 2006 15:04:05 GMT"},
		"weak etag": {etag: `W/"1"`},
		"date":      {modified: "Mon, 02 Jan 2006 15:04:05 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			k.body = "one"
			url := serve(t, k.ServeHTTP)
			c := newClient(t, nil)
			doc := distro.Document{URL: url + "/index.json", Limit: 100, Keep: true}
			want := func(body string, full, unchanged int) {
				t.Helper()
				b, err := c.Get(t.Context(), doc)
				if err != nil || string(b) != body || k.full != full || k.unchanged != unchanged {
					t.Fatalf("%q, %v; sent %d times, unchanged %d times", b, err, k.full, k.unchanged)
				}
			}
			want("one", 1, 0)
			want("one", 1, 1)
			c = newClient(t, func(o *Options) { o.Vault = c.opts.Vault }) // another process
			want("one", 1, 2)

			path := c.keptPath(doc)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(path, bytes.Replace(text, []byte("\none"), []byte("\nxne"), 1), 0o644)
			want("one", 2, 2) // damaged: asked for anew
			os.Remove(path)
			os.Symlink("/etc/passwd", path)
			want("one", 3, 2)

			k.body, k.etag, k.modified = "two", strings.ReplaceAll(k.etag, "1", "2"), strings.ReplaceAll(k.modified, "2006", "2007")
			want("two", 4, 2)
			want("two", 4, 3)

			off := newClient(t, func(o *Options) { o.Vault, o.Offline = c.opts.Vault, true })
			var missing *MissingError
			if _, err := off.Get(t.Context(), doc); !errors.As(err, &missing) {
				t.Errorf("offline, something old was used: %v", err)
			}
		})
	}
}

func TestKeptOnlyWhenAskedFor(t *testing.T) {
	k := &keeper{body: "one", etag: `"1"`}
	base := serve(t, k.ServeHTTP)
	c := newClient(t, nil)
	for _, doc := range []distro.Document{
		{URL: base + "/a", Limit: 10}, {URL: base + "/a?token=secret", Limit: 10, Keep: true},
		{URL: strings.Replace(base, "//", "//joe:secret@", 1) + "/a", Limit: 10, Keep: true},
	} {
		if _, err := c.Get(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(c.opts.Vault, "documents")); len(left) != 0 {
		t.Errorf("kept: %v", left)
	}
}

// A server that says "unchanged" to somebody who has nothing is not believed.
func TestUnaskedAnswers(t *testing.T) {
	for _, status := range []int{http.StatusNotModified, http.StatusPartialContent} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		c := newClient(t, func(o *Options) { o.Retries = -1 })
		if b, err := c.Get(t.Context(), distro.Document{URL: url, Limit: 10, Keep: true}); err == nil {
			t.Errorf("%d gave %q", status, b)
		}
		if f, err := c.Add(t.Context(), "x", distro.Document{URL: url, Limit: 10}); err == nil {
			t.Errorf("%d gave %+v", status, f)
		}
	}
}

// TestAddContinues stops a download of unknown digest at many bytes, within a process and between two.
func TestAddContinues(t *testing.T) {
	b := content(50_000, 31)
	for name, version := range map[string]string{"strong": `"v1"`, "weak": `W/"v1"`, "none": "", "changed": "changed"} {
		t.Run(name, func(t *testing.T) {
			for stop := 1; stop < len(b); stop += 7919 {
				var ranges []string
				var asked atomic.Int32
				url := serve(t, func(w http.ResponseWriter, r *http.Request) {
					n := asked.Add(1)
					ranges = append(ranges, r.Header.Get("Range"))
					switch version {
					case "":
					case "changed":
						w.Header().Set("Etag", `"v`+strconv.Itoa(int(n))+`"`)
					default:
						w.Header().Set("Etag", version)
					}
					if n == 1 {
						w.Header().Set("Content-Length", strconv.Itoa(len(b)))
						w.Write(b[:stop])
						w.(http.Flusher).Flush()
						panic(http.ErrAbortHandler)
					}
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
				})
				retries := 1 - 2*(stop%2) // without repetitions the next client goes on
				c := newClient(t, func(o *Options) { o.Retries = retries })
				doc := distro.Document{URL: url, Limit: int64(len(b))}
				f, err := c.Add(t.Context(), "x", doc)
				if retries < 0 {
					if err == nil {
						t.Fatal("the server broke off, and nobody noticed")
					}
					c = newClient(t, func(o *Options) { o.Vault = c.opts.Vault })
					f, err = c.Add(t.Context(), "x", doc)
				}
				if err != nil || f.SHA256 != digest(b) {
					t.Fatalf("%+v, %v", f, err)
				}
				inVault(t, c, b)
				want := ""
				if name == "strong" || name == "changed" {
					want = "bytes="
				}
				if got := ranges[1]; !strings.HasPrefix(got, want) || want == "" && got != "" {
					t.Fatalf("asked for %q", ranges)
				}
			}
		})
	}
}

// TestAddAfterTheLastByte goes on where a process was killed between the last byte and the vault.
func TestAddAfterTheLastByte(t *testing.T) {
	b := content(5_000, 32)
	url := serve(t, serveRange(b))
	c := newClient(t, nil)
	p, err := c.openPartial(t.Context(), "url-"+urlName(url))
	if err != nil || p.load(int64(len(b))) != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(b); err != nil {
		t.Fatal(err)
	}
	p.note(url, `"`+digest(b)[:8]+`"`)
	p.file.Close()
	f, err := c.Add(t.Context(), "x", distro.Document{URL: url, Limit: int64(len(b))})
	if err != nil || f.SHA256 != digest(b) {
		t.Fatalf("%+v, %v", f, err)
	}
	inVault(t, c, b)
}

func TestAddLyingRange(t *testing.T) {
	b := content(20_000, 32)
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"same"`)
		switch {
		case n.Add(1) == 1:
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.Write(b[:9000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case r.Header.Get("Range") != "":
			w.Header().Set("Content-Range", "bytes 10-19999/20000")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(b[10:])
		default:
			w.Write(b)
		}
	})
	c := newClient(t, nil)
	if f, err := c.Add(t.Context(), "x", distro.Document{URL: url, Limit: 1 << 20}); err != nil || f.SHA256 != digest(b) {
		t.Fatalf("%+v, %v", f, err)
	}
	inVault(t, c, b)
}

// Of a file that could not be had nothing stays.
func TestNothingIsLeft(t *testing.T) {
	b := content(1000, 33)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(b) })
	c := newClient(t, nil)
	wrong := distro.File{URL: url, SHA256: strings.Repeat("a", 64), Size: 1000}
	if err := c.Fetch(t.Context(), "x", []distro.File{wrong}); err == nil || !strings.Contains(err.Error(), "its sha256 is") {
		t.Fatal(err)
	}
	wrong.Size = 999
	if err := c.Fetch(t.Context(), "x", []distro.File{wrong}); err == nil || !strings.Contains(err.Error(), "999") {
		t.Fatal(err)
	}
	if _, err := c.Add(t.Context(), "x", distro.Document{URL: url, Limit: 999}); err == nil {
		t.Fatal("the limit was not kept")
	}
	for _, dir := range []string{"partial", "sha256"} {
		if left, _ := os.ReadDir(filepath.Join(c.opts.Vault, dir)); len(left) != 0 {
			t.Errorf("%s holds %v", dir, left)
		}
	}
}

// Places are tried in order; the first that has the file ends the search.
func TestMirrorsInOrder(t *testing.T) {
	b := content(5000, 34)
	var asked []string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		switch r.URL.Path {
		case "/none":
			http.NotFound(w, r)
		case "/wrong":
			w.Write(content(5000, 35))
		case "/short":
			w.Write(b[:4000])
		default:
			w.Write(b)
		}
	})
	c := newClient(t, func(o *Options) { o.Retries = -1 })
	f := distro.File{URL: base + "/none", Mirrors: []string{base + "/wrong", base + "/short", base + "/good", base + "/never"}, SHA256: digest(b), Size: 5000}
	if err := c.Fetch(t.Context(), "x", []distro.File{f}); err != nil {
		t.Fatal(err)
	}
	inVault(t, c, b)
	if got := strings.Join(asked, " "); got != "/none /wrong /short /good" {
		t.Errorf("asked: %s", got)
	}
	f.Mirrors, f.SHA256 = f.Mirrors[:1], strings.Repeat("b", 64)
	err := c.Fetch(t.Context(), "x", []distro.File{f})
	if err == nil || !strings.Contains(err.Error(), "/none") || !strings.Contains(err.Error(), "/wrong") {
		t.Errorf("the error does not tell every place: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	for wish, want := range map[string][2]time.Duration{
		"7":       {7 * time.Second, 7 * time.Second},
		"-1":      {0, 0},
		"soon":    {0, 0},
		"9999999": {time.Hour, time.Hour},
		time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat): {17 * time.Second, 20 * time.Second},
		"Mon, 02 Jan 2006 15:04:05 GMT":                                {0, 0},
	} {
		got := newStatusError(&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {wish}}}).(*statusError).after
		if got < want[0] || got > want[1] {
			t.Errorf("%q is %v", wish, got)
		}
	}
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		io.WriteString(w, "ok")
	})
	start := time.Now()
	if _, err := newClient(t, nil).Get(t.Context(), distro.Document{URL: url, Limit: 10}); err != nil || time.Since(start) < time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestProxy sends plain requests and a tunnel for https through a proxy on loopback.
func TestProxy(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secure") }))
	t.Cleanup(secure.Close)
	asked := make(chan string, 10)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.String() + r.Host
		if r.Method != http.MethodConnect {
			io.WriteString(w, "plain")
			return
		}
		there, err := net.Dial("tcp", secure.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		w.WriteHeader(http.StatusOK)
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		go io.Copy(there, here)
		io.Copy(here, there)
	})
	through, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, func(o *Options) { o.Proxy = http.ProxyURL(through) })
	get := func(url, want string) {
		t.Helper()
		if b, err := c.Get(t.Context(), distro.Document{URL: url, Limit: 10, Signed: true}); err != nil || string(b) != want {
			t.Fatalf("%q, %v", b, err)
		}
	}
	get("http://images.invalid/x", "plain")
	if got := <-asked; got != "GET http://images.invalid/ximages.invalid" {
		t.Errorf("the proxy was asked for %q", got)
	}
	c.http.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	get("https://example.com/x", "secure")
	if got := <-asked; !strings.HasPrefix(got, "CONNECT ") || !strings.HasSuffix(got, "example.com:443") {
		t.Errorf("the proxy was asked for %q", got)
	}
}

func TestMissing(t *testing.T) {
	b := content(100, 36)
	url := serve(t, serveRange(b))
	c := newClient(t, nil)
	have := distro.File{URL: url, SHA256: digest(b), Size: 100}
	if err := c.Fetch(t.Context(), "x", []distro.File{have}); err != nil {
		t.Fatal(err)
	}
	var missing *MissingError
	err := c.Missing([]distro.File{have, {URL: url + "/1", SHA256: strings.Repeat("1", 64)}, {URL: url + "/2", SHA256: strings.Repeat("2", 64), Size: 7}})
	if !errors.As(err, &missing) || len(missing.Files) != 2 || !strings.Contains(err.Error(), "/2  7 B") {
		t.Errorf("%v", err)
	}
	if err := c.Missing([]distro.File{have}); err != nil {
		t.Error(err)
	}
}
