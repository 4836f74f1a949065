package images_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/storage/fetch"
)

const helloControl = "Package: hello\nVersion: 1:2+b1\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: d\n"

func fetchInto(t *testing.T, vault string) *fetch.Client {
	t.Helper()
	c, err := fetch.New(fetch.Options{Vault: vault, Retries: -1, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keysOf(keys ...*aptrepotest.Key) func(aptrepo.Source) (pgp.KeyRing, error) {
	return func(aptrepo.Source) (pgp.KeyRing, error) {
		var all bytes.Buffer
		for _, k := range keys {
			all.Write(k.Public())
		}
		return pgp.ReadKeyRing(all.Bytes())
	}
}

// TestLoadSuites publishes one archive and breaks it in many ways.
func TestLoadSuites(t *testing.T) {
	key, other := aptrepotest.NewKey(t), aptrepotest.NewKey(t)
	now := time.Now()
	const dir = "/dists/stable/"
	tests := []struct {
		name  string
		spoil func(a *aptrepotest.Archive)
		src   aptrepo.Source
		want  string // in the error
	}{
		{name: "good"},
		{name: "detached signature", spoil: func(a *aptrepotest.Archive) { a.Delete(dir + "InRelease") }},
		{name: "no by-hash file", spoil: func(a *aptrepotest.Archive) {
			i := bytes.LastIndexByte(bytes.TrimSpace(a.Get(dir+"Release")), '\n')
			digest := strings.Fields(string(a.Get(dir + "Release")[i:]))[0]
			a.Delete(dir + "main/binary-amd64/by-hash/SHA256/" + digest)
		}},
		{name: "other key", want: "no signature is good", spoil: func(a *aptrepotest.Archive) {
			a.Set(dir+"InRelease", other.Sign(a.Get(dir+"Release")))
		}},
		{name: "other key, trusted source", src: aptrepo.Source{Trusted: true}, spoil: func(a *aptrepotest.Archive) {
			a.Set(dir+"InRelease", other.Sign(a.Get(dir+"Release")))
		}},
		{name: "wrong detached signature", want: "no signature is good", spoil: func(a *aptrepotest.Archive) {
			a.Delete(dir + "InRelease")
			a.Set(dir+"Release.gpg", other.Detach(a.Get(dir+"Release")))
		}},
		{name: "not signed", want: "not signed", spoil: func(a *aptrepotest.Archive) {
			a.Delete(dir + "InRelease")
			a.Delete(dir + "Release.gpg")
		}},
		{name: "unsigned text before the signed", want: "nothing else", spoil: func(a *aptrepotest.Archive) {
			a.Set(dir+"InRelease", append([]byte("Origin: evil\n\n"), a.Get(dir+"InRelease")...))
		}},
		{name: "expired", want: "has expired", spoil: func(a *aptrepotest.Archive) {
			a.Publish(key, aptrepotest.Suite{Name: "stable", Date: now.AddDate(0, -1, 0), ValidUntil: now.Add(-time.Hour)})
		}},
		{name: "expired, never mind", src: aptrepo.Source{NeverExpires: true}, spoil: func(a *aptrepotest.Archive) {
			a.Publish(key, aptrepotest.Suite{Name: "stable", Date: now.AddDate(0, -1, 0), ValidUntil: now.Add(-time.Hour), Stanzas: []string{a.AddDeb(helloControl, nil)}})
		}},
		{name: "another suite's index", want: `is that of "old"`, spoil: func(a *aptrepotest.Archive) {
			a.Publish(key, aptrepotest.Suite{Name: "old", Date: now})
			a.Set(dir+"InRelease", a.Get("/dists/old/InRelease"))
		}},
		{name: "index with other bytes of the same length", want: "sha256", spoil: func(a *aptrepotest.Archive) { spoilIndex(a, dir, 1) }},
		{name: "index too long", want: "bytes, not", spoil: func(a *aptrepotest.Archive) { spoilIndex(a, dir, 2) }},
		{name: "suite missing", want: "404", spoil: func(a *aptrepotest.Archive) {
			for _, f := range []string{"InRelease", "Release"} {
				a.Delete(dir + f)
			}
		}},
		{name: "server error", want: "500", spoil: func(a *aptrepotest.Archive) { a.Set(dir+"InRelease", nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := aptrepotest.NewArchive(t)
			a.Publish(key, aptrepotest.Suite{Name: "stable", Date: now, ValidUntil: now.Add(time.Hour), Stanzas: []string{a.AddDeb(helloControl, nil)}})
			if tt.spoil != nil {
				tt.spoil(a)
			}
			tt.src.URI, tt.src.Suite, tt.src.Components = a.URL, "stable", []string{"main", "contrib"}
			f := fetchInto(t, t.TempDir())
			suites, err := distro.LoadSuites(t.Context(), f, []aptrepo.Source{tt.src}, distro.SuiteOptions{Archs: []string{"amd64"}, Keys: keysOf(key), Now: time.Now()})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), a.URL) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || len(suites) != 1 || len(suites[0].Indexes) != 1 {
				t.Fatalf("got %+v, %v", suites, err)
			}
			var found []string
			err = suites[0].Read(f, suites[0].Indexes[0], func(p *aptrepo.Package, _ []byte) error {
				found = append(found, p.Name+" "+p.Version+" "+suites[0].Location(p.Filename))
				return nil
			})
			if want := "[hello 1:2+b1 " + a.URL + "/pool/hello_1-2%2bb1_amd64.deb]"; err != nil || fmt.Sprint(found) != want {
				t.Errorf("read %v, %v, want %s", found, err, want)
			}
			r := suites[0].Repository()
			if r.Location != a.URL || r.Suite != "stable" || r.Components != "main contrib" || len(r.SHA256) != 64 {
				t.Errorf("repository %+v", r)
			}
		})
	}
}

// spoilIndex changes every copy of the index.
func spoilIndex(a *aptrepotest.Archive, dir string, how int) {
	b := bytes.Clone(a.Get(dir + "main/binary-amd64/Packages.gz"))
	switch how {
	case 1:
		b[len(b)/2] ^= 1
	case 2:
		b = append(b, 0)
	}
	i := bytes.LastIndexByte(bytes.TrimSpace(a.Get(dir+"Release")), '\n')
	digest := strings.Fields(string(a.Get(dir + "Release")[i:]))[0]
	a.Set(dir+"main/binary-amd64/Packages.gz", b)
	a.Set(dir+"main/binary-amd64/by-hash/SHA256/"+digest, b)
}

func TestLoadSuitesOptional(t *testing.T) {
	key, now := aptrepotest.NewKey(t), time.Now()
	a := aptrepotest.NewArchive(t)
	a.Publish(key, aptrepotest.Suite{Name: "x", Date: now})
	sources := []aptrepo.Source{{URI: a.URL, Suite: "x", Components: []string{"main"}}, {URI: a.URL, Suite: "x-security", Components: []string{"main"}}}
	o := distro.SuiteOptions{Archs: []string{"amd64"}, Keys: keysOf(key), Now: time.Now(), Optional: func(s aptrepo.Source) bool { return distro.AdditionalSuite(s.Suite) }}
	suites, err := distro.LoadSuites(t.Context(), fetchInto(t, t.TempDir()), sources, o)
	if err != nil || len(suites) != 1 {
		t.Fatalf("absent: %d suites, %v", len(suites), err)
	}
	a.Set("/dists/x-security/InRelease", nil)
	if _, err := distro.LoadSuites(t.Context(), fetchInto(t, t.TempDir()), sources, o); err == nil {
		t.Error("a suite that only fails was left out")
	}
}

// TestDated: what a dated archive serves has expired by intention; a mirror's may not.
func TestDated(t *testing.T) {
	key, now := aptrepotest.NewKey(t), time.Now()
	a := aptrepotest.NewArchive(t)
	a.Publish(key, aptrepotest.Suite{Name: "x", Date: now.AddDate(-1, 0, 0), ValidUntil: now.AddDate(-1, 0, 7)})
	for _, f := range []string{"InRelease", "main/binary-amd64/Packages.gz"} {
		a.Set("/archive/20240501T000000Z/dists/x/"+f, a.Get("/dists/x/"+f))
	}
	load := func(uri string) error {
		_, err := distro.LoadSuites(t.Context(), fetchInto(t, t.TempDir()), []aptrepo.Source{{URI: uri, Suite: "x", Components: []string{"main"}}},
			distro.SuiteOptions{Archs: []string{"amd64"}, Keys: keysOf(key), Now: time.Now()})
		return err
	}
	if err := load(a.URL + "/archive/20240501T000000Z"); err != nil {
		t.Error(err)
	}
	if err := load(a.URL); !errors.Is(err, aptrepo.ErrExpired) {
		t.Errorf("got %v", err)
	}
}

// TestIndexDamagedInVault: what the vault has is verified when it is read, too.
func TestIndexDamagedInVault(t *testing.T) {
	key, now := aptrepotest.NewKey(t), time.Now()
	a := aptrepotest.NewArchive(t)
	a.Publish(key, aptrepotest.Suite{Name: "x", Date: now, Stanzas: []string{a.AddDeb(helloControl, nil)}})
	f := fetchInto(t, filepath.Join(t.TempDir(), "v"))
	suites, err := distro.LoadSuites(t.Context(), f, []aptrepo.Source{{URI: a.URL, Suite: "x", Components: []string{"main"}}},
		distro.SuiteOptions{Archs: []string{"amd64"}, Keys: keysOf(key), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	damage(t, f.Path(suites[0].Indexes[0].SHA256))
	err = suites[0].Read(f, suites[0].Indexes[0], func(*aptrepo.Package, []byte) error { return nil })
	if !errors.Is(err, distro.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// damage changes one bit of a file.
func damage(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	os.Chmod(name, 0o644)
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
