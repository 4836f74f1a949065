package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

var update = flag.Bool("update", false, "write the golden files")

func subject(t *testing.T, file string) (*Subject, []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	l, err := manifest.ParseLock(file, text)
	if err != nil {
		t.Fatal(err)
	}
	return &Subject{Lock: l, Name: "full", Program: "1.2.3"}, text
}

// The documents of a lock are these bytes, whoever writes them and when.
func TestDocuments(t *testing.T) {
	s, text := subject(t, "full.lock")
	for name, write := range map[string]func() ([]byte, error){
		"full.spdx.json":       s.SPDX,
		"full.cdx.json":        s.CycloneDX,
		"full.provenance.json": func() ([]byte, error) { return s.Provenance(manifest.ManifestID(strings.Repeat("ab", 32)), text) },
	} {
		got, err := write()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(got) {
			t.Errorf("%s is no JSON", name)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is\n%s", name, got)
		}
	}
}

// A lock that was not built yet has a bill of materials too.
func TestUnbuilt(t *testing.T) {
	s, _ := subject(t, "small.lock")
	s.Lock.Output, s.Name = manifest.Output{}, ""
	for _, write := range []func() ([]byte, error){s.SPDX, s.CycloneDX} {
		got, err := write()
		if err != nil || !bytes.Contains(got, []byte(s.Lock.ID().Short())) {
			t.Errorf("%v\n%s", err, got)
		}
	}
}

func TestPurl(t *testing.T) {
	for _, c := range []struct{ image, name, version, arch, location, want string }{
		{"bootstrap:debian/bookworm", "libstdc++6", "12.2.0-14+deb12u1", "amd64", "http://m/l.deb", "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64"},
		{"bootstrap:debian/bookworm", "git", "1:2.39.5-0", "amd64", "http://m/g.deb", "pkg:deb/debian/git@1:2.39.5-0?arch=amd64"},
		{"fedora/43", "vim", "2:9.1-1.fc43", "x86_64", "http://m/v.rpm", "pkg:rpm/fedora/vim@9.1-1.fc43?arch=x86_64&epoch=2"},
		{"archlinux/current", "zsh", "5.9-5", "x86_64", "http://m/z.pkg.tar.zst", "pkg:alpm/arch/zsh@5.9-5?arch=x86_64"},
		{"./base.tar", "x", "1", "", "http://m/x.deb", "pkg:deb/x@1"},
	} {
		s := &Subject{Lock: &manifest.Lock{BaseImage: c.image}}
		if got := s.purl(manifest.Package{Name: c.name, Version: c.version, Arch: c.arch, Location: c.location}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
