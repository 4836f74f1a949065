package registry

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// host is a server that remembers what it was asked and told.
type host struct {
	*httptest.Server
	mu      sync.Mutex
	secrets []string // Authorization headers and forms, whatever they were for
	asked   int
	answer  http.HandlerFunc
}

func newHost(t *testing.T, secure bool, answer http.HandlerFunc) *host {
	h := &host{answer: answer}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked++
		if a := r.Header.Get("Authorization"); a != "" {
			h.secrets = append(h.secrets, a)
		}
		if r.Method == http.MethodPost && strings.Contains(r.Header.Get("Content-Type"), "form") {
			body, _ := io.ReadAll(r.Body)
			h.secrets = append(h.secrets, string(body))
		}
		h.mu.Unlock()
		h.answer(w, r)
	})
	h.Server = httptest.NewUnstartedServer(handler)
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	return h
}

func (h *host) addr() string { return h.Listener.Addr().String() }

func (h *host) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.secrets
}

const content = "what is in the blob"

// locked is a registry that wants a token of realm before it gives the blob.
func locked(realm func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			fmt.Fprint(w, `{"token":"the-token"}`)
		case r.Header.Get("Authorization") != "Bearer the-token":
			w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s",scope="repository:team/image:pull"`, realm()))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			io.WriteString(w, content)
		}
	}
}

var somebody = Credential{Username: "somebody", Password: "secret-word"}

func open(t *testing.T, h *host, change func(*Options)) *Client {
	t.Helper()
	o := Options{Host: h.addr(), Repository: "team/image", Credential: somebody, Stall: time.Second}
	if change != nil {
		change(&o)
	}
	c, err := Open(t.Context(), o, true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(c *Client) (string, error) {
	client := &http.Client{Transport: c.Transport()}
	resp, err := client.Get(c.BlobURL(digest.FromString(content)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(body), err
}

func wants(t *testing.T, c *Client, failure string) {
	t.Helper()
	got, err := get(c)
	switch {
	case failure == "" && (err != nil || got != content):
		t.Errorf("got %q, %v", got, err)
	case failure != "" && (err == nil || !strings.Contains(err.Error(), failure)):
		t.Errorf("got %q, %v; want an error with %q", got, err, failure)
	}
}

// The password goes to the registry's own token service, and the token to the registry.
func TestTokens(t *testing.T) {
	var h *host
	h = newHost(t, false, locked(func() string { return h.URL + "/token" }))
	wants(t, open(t, h, nil), "")
	if told := h.told(); len(told) != 2 || !strings.HasPrefix(told[0], "Basic ") || told[1] != "Bearer the-token" {
		t.Errorf("told %q", told)
	}
	identity := open(t, h, func(o *Options) { o.Credential = Credential{IdentityToken: "id-token"} })
	h.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			fmt.Fprint(w, `{"access_token":"the-token"}`)
			return
		}
		locked(func() string { return h.URL + "/token" })(w, r)
	}
	wants(t, identity, "")
	if told := strings.Join(h.told(), " "); !strings.Contains(told, "refresh_token=id-token") {
		t.Errorf("told %q", told)
	}
}

// A token service elsewhere is told nothing, unless the configuration allows it; what it gives to anybody is taken.
func TestForeignRealm(t *testing.T) {
	realm := newHost(t, false, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"token":"the-token","access_token":"the-token"}`)
	})
	h := newHost(t, false, locked(func() string { return realm.URL + "/token" }))
	for _, c := range []Credential{somebody, {IdentityToken: "id-token"}} {
		wants(t, open(t, h, func(o *Options) { o.Credential = c }), "wants its password sent to "+realm.addr())
	}
	if told := realm.told(); len(told) > 0 || realm.asked > 0 {
		t.Fatalf("the foreign realm was told %q", told)
	}
	wants(t, open(t, h, func(o *Options) { o.Credential = Credential{} }), "")
	if told := realm.told(); len(told) > 0 {
		t.Errorf("the foreign realm was told %q", told)
	}
	wants(t, open(t, h, func(o *Options) { o.AuthHosts = []string{strings.ToUpper(realm.addr())} }), "")
	if told := realm.told(); len(told) != 1 {
		t.Errorf("the allowed realm was told %q", told)
	}
	var policy *PolicyError
	if _, err := get(open(t, h, nil)); !errors.As(err, &policy) || !policy.Permanent() {
		t.Errorf("%v would be tried again", err)
	}
}

// Who is redirected to takes no credentials along, on whatever port or name.
func TestRedirect(t *testing.T) {
	for _, name := range []string{"127.0.0.1", "localhost"} {
		other := newHost(t, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) })
		h := newHost(t, false, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("Www-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", name, 1)+"/x", http.StatusTemporaryRedirect)
		})
		wants(t, open(t, h, nil), "")
		if told := other.told(); len(told) > 0 || other.asked != 1 {
			t.Errorf("%s: the other host was asked %d times and told %q", name, other.asked, told)
		}
	}
	for to, failure := range map[string]string{
		"http://registry.invalid/x": "leads to http://registry.invalid, which is not encrypted",
		"ftp://127.0.0.1/x":         "leads to ftp://127.0.0.1",
		"http://a:b@127.0.0.1:1/x":  "has a password in it",
	} {
		h := newHost(t, false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		})
		wants(t, open(t, h, nil), failure)
	}
}

// A token service that asks its own way to somewhere else is not followed.
func TestRealmRedirects(t *testing.T) {
	other := newHost(t, false, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"the-token"}`) })
	var h *host
	h = newHost(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			http.Redirect(w, r, other.URL+"/token", http.StatusTemporaryRedirect)
			return
		}
		locked(func() string { return h.URL + "/token" })(w, r)
	})
	for failure, c := range map[string]Credential{"307 Temporary Redirect": somebody, "refusing to resend": {IdentityToken: "id-token"}} {
		wants(t, open(t, h, func(o *Options) { o.Credential = c }), failure)
	}
	if other.asked > 0 {
		t.Errorf("the other host was asked, and told %q", other.told())
	}
}

func pemFile(t *testing.T, h *host, name string) string {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// Certificates are checked; a registry's own authority is trusted for it where the configuration or certs.d has it.
func TestTLS(t *testing.T) {
	h := newHost(t, true, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) })
	wants(t, open(t, h, nil), "certificate")
	dir := t.TempDir()
	file := pemFile(t, h, filepath.Join(dir, "own.pem"))
	wants(t, open(t, h, func(o *Options) { o.CA = []string{file} }), "")
	pemFile(t, h, filepath.Join(dir, "certs.d", h.addr(), "ca.crt"))
	wants(t, open(t, h, func(o *Options) { o.CertDirs = []string{filepath.Join(dir, "none"), filepath.Join(dir, "certs.d")} }), "")
	other := newHost(t, true, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) })
	pemFile(t, other, filepath.Join(dir, "certs.d", "elsewhere", "ca.crt"))
	wants(t, open(t, other, func(o *Options) { o.CertDirs = []string{filepath.Join(dir, "certs.d")} }), "certificate")
	if err := os.WriteFile(file, []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Host: h.addr(), Repository: "a", CA: []string{file}}, true); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("error %v", err)
	}
}

// From https nothing leads to http, not even on this machine: no redirect, no token service, no upload.
func TestNoDowngrade(t *testing.T) {
	plain := newHost(t, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) })
	h := newHost(t, true, nil)
	ca := pemFile(t, h, filepath.Join(t.TempDir(), "ca.pem"))
	trusting := func(o *Options) { o.CA = []string{ca} }
	h.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }
	wants(t, open(t, h, trusting), "nothing but https is followed")
	h.answer = locked(func() string { return plain.URL + "/token" })
	wants(t, open(t, h, trusting), "http")
	wants(t, open(t, h, func(o *Options) { trusting(o); o.Credential = Credential{} }), "http")
	h.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", plain.URL+"/upload")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}
	if err := send(t, open(t, h, trusting), content); err == nil {
		t.Error("an upload went on elsewhere")
	}
	if plain.asked > 0 {
		t.Errorf("http was spoken, and told %q", plain.told())
	}
}

// Plain http is spoken to no host that is not this machine or allowed, and https is tried first.
func TestPlainHTTP(t *testing.T) {
	c, err := Open(t.Context(), Options{Host: "registry.invalid", Repository: "a/b"}, true)
	if err != nil || !strings.HasPrefix(c.BlobURL("sha256:x"), "https://registry.invalid/v2/a/b/blobs/") {
		t.Errorf("%s, %v", c.BlobURL("sha256:x"), err)
	}
	if c, _ := Open(t.Context(), Options{Host: "docker.io", Repository: "library/debian"}, false); !strings.HasPrefix(c.ManifestURL("1"), "https://registry-1.docker.io/v2/library/debian/manifests/1") {
		t.Error(c.ManifestURL("1"))
	}
}

func send(t *testing.T, c *Client, text string) error {
	t.Helper()
	_, err := c.Upload("", nil, t.TempDir(), nil).Blob(t.Context(), ispec.Descriptor{}, func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	return err
}

// What is sent is tried again when the registry is busy, never sent elsewhere, and given up when nobody takes it.
func TestUpload(t *testing.T) {
	var got string
	busy := 2
	h := newHost(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case http.MethodPost:
			if busy--; busy >= 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Location", "/v2/team/image/blobs/uploads/1?state=x")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			body, _ := io.ReadAll(r.Body)
			got = string(body) + " " + r.URL.Query().Get("digest")
			w.WriteHeader(http.StatusCreated)
		}
	})
	if err := send(t, open(t, h, nil), content); err != nil || got != content+" "+digest.FromString(content).String() {
		t.Errorf("got %q, %v", got, err)
	}
	other := newHost(t, false, nil)
	h.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", other.URL+"/upload")
		w.WriteHeader(map[bool]int{true: http.StatusAccepted, false: http.StatusNotFound}[r.Method == http.MethodPost])
	}
	if err := send(t, open(t, h, nil), content); err == nil || other.asked > 0 {
		t.Errorf("sent to another host: %v", err)
	}
}

// A password that is refused is not tried again and again.
func TestWrongPassword(t *testing.T) {
	h := newHost(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	c := open(t, h, nil)
	before := h.asked
	err := c.Upload("", nil, t.TempDir(), nil).Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || len(h.told()) != 1 || h.asked != before+2 {
		t.Errorf("asked %d times, told %q: %v", h.asked, h.told(), err)
	}
}

func TestStalledUpload(t *testing.T) {
	end := make(chan struct{})
	h := newHost(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			<-end // without reading
		case http.MethodPost:
			w.Header().Set("Location", "/upload")
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	defer close(end)
	c := open(t, h, func(o *Options) { o.Stall = 50 * time.Millisecond })
	up := c.Upload("", nil, t.TempDir(), nil)
	zeros := func(_ context.Context, w io.Writer) error {
		for range 64 << 4 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		done <- up.send(t.Context(), ispec.Descriptor{Digest: digest.FromString("x"), Size: 64 << 20}, zeros)
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("sent to nobody")
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

// A registry that thinks for ever is not waited for.
func TestSlowAnswer(t *testing.T) {
	end := make(chan struct{})
	h := newHost(t, false, func(http.ResponseWriter, *http.Request) { <-end })
	defer close(end)
	start := time.Now()
	wants(t, open(t, h, func(o *Options) { o.Stall = 100 * time.Millisecond }), "timeout")
	if time.Since(start) > time.Minute {
		t.Errorf("waited for %v", time.Since(start))
	}
}
