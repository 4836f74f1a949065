// Package aptrepotest makes small Debian archives for tests: real keys, real signatures, real packages, served on
// loopback.
package aptrepotest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key signs.
type Key struct {
	t      testing.TB
	entity *openpgp.Entity
}

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	made := func() time.Time { return time.Now().Add(-time.Hour) }
	e, err := openpgp.NewEntity("Test archive", "", "archive@example.org", &packet.Config{Time: made, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return &Key{t, e}
}

func (k *Key) config() *packet.Config { return &packet.Config{DefaultHash: crypto.SHA512} }

// Public is the certificate, armored.
func (k *Key) Public() []byte {
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err == nil {
		err = k.entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Sign makes an InRelease file of a Release file.
func (k *Key) Sign(text []byte) []byte {
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, k.entity.PrivateKey, k.config())
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Detach makes a Release.gpg file of a Release file.
func (k *Key) Detach(text []byte) []byte {
	var out bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&out, k.entity, bytes.NewReader(text), k.config()); err != nil {
		k.t.Fatal(err)
	}
	return out.Bytes()
}

// Archive is an archive on loopback. Files may be changed at any time, with Set, to play tricks.
type Archive struct {
	URL   string
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

// NewArchive serves an empty archive.
func NewArchive(t testing.TB) *Archive {
	a := &Archive{files: make(map[string][]byte)}
	s := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

func (a *Archive) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	b, ok := a.files[r.URL.Path]
	a.asked = append(a.asked, r.URL.Path)
	a.mu.Unlock()
	switch {
	case !ok:
		http.NotFound(w, r)
	case b == nil:
		w.WriteHeader(http.StatusInternalServerError)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// Set gives a path, which begins with a slash, a content; nil makes it fail with 500.
func (a *Archive) Set(path string, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[path] = b
}

// Get returns what is served under a path.
func (a *Archive) Get(path string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[path]
}

// Delete makes a path unknown.
func (a *Archive) Delete(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.files, path)
}

// Asked lists the requests so far.
func (a *Archive) Asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// AddDeb makes a package of a control stanza and files, serves it and returns its stanza for an index.
func (a *Archive) AddDeb(control string, files map[string]string) string {
	deb := Deb(control, files)
	fields := make(map[string]string)
	for line := range strings.SplitSeq(control, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		fields[name] = value
	}
	name := fmt.Sprintf("pool/%s_%s_%s.deb", fields["Package"], strings.ReplaceAll(fields["Version"], ":", "-"), fields["Architecture"])
	a.Set("/"+name, deb)
	return fmt.Sprintf("%s\nFilename: %s\nSize: %d\nSHA256: %s\n", strings.TrimSpace(control), name, len(deb), sum(deb))
}

// Suite describes a suite to publish.
type Suite struct {
	Name       string // of its directory
	Codename   string // empty: Name
	Fields     string // more lines of the Release file
	Date       time.Time
	ValidUntil time.Time
	Arch       string   // empty: amd64
	Stanzas    []string // of the component main
}

// Publish writes a suite: Release file, signatures, and its index, gzip-compressed.
func (a *Archive) Publish(key *Key, s Suite) {
	if s.Codename == "" {
		s.Codename = s.Name
	}
	if s.Arch == "" {
		s.Arch = "amd64"
	}
	dir := "/dists/" + s.Name + "/"
	plain := []byte(strings.Join(s.Stanzas, "\n"))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(plain)
	z.Close()
	index := "main/binary-" + s.Arch + "/Packages.gz"
	a.Set(dir+index, packed.Bytes())
	a.Set(dir+"main/binary-"+s.Arch+"/by-hash/SHA256/"+sum(packed.Bytes()), packed.Bytes())
	var r bytes.Buffer
	fmt.Fprintf(&r, "Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\n", s.Name, s.Codename, s.Date.UTC().Format(http.TimeFormat))
	if !s.ValidUntil.IsZero() {
		fmt.Fprintf(&r, "Valid-Until: %s\n", s.ValidUntil.UTC().Format(http.TimeFormat))
	}
	fmt.Fprintf(&r, "Acquire-By-Hash: yes\nArchitectures: %s\nComponents: main\n%sSHA256:\n %s %d %s\n", s.Arch, s.Fields, sum(packed.Bytes()), packed.Len(), index)
	a.Set(dir+"Release", r.Bytes())
	a.Set(dir+"Release.gpg", key.Detach(r.Bytes()))
	a.Set(dir+"InRelease", key.Sign(r.Bytes()))
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Deb makes a package. A file name that ends in a slash is a directory, a content "-> target" a link.
func Deb(control string, files map[string]string) []byte {
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	member := func(name string, b []byte) {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", name, 0, 0, 0, "100644", len(b), b)
		if len(b)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	member("debian-binary", []byte("2.0\n"))
	member("control.tar.gz", tarball(map[string]string{"./control": strings.TrimSpace(control) + "\n"}))
	member("data.tar.gz", tarball(files))
	return out.Bytes()
}

func tarball(files map[string]string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg, ModTime: time.Unix(1700000000, 0)}
		target, link := strings.CutPrefix(files[name], "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		case link:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		w.WriteHeader(h)
		if h.Size > 0 {
			w.Write([]byte(files[name]))
		}
	}
	w.Close()
	z.Close()
	return out.Bytes()
}
