package builder

import (
	"slices"
	"testing"

	"github.com/karapace/karapace/manifest"
)

// A package file is looked for where the lock has it, then at the mirrors, then in the archive of that day.
func TestPackageFiles(t *testing.T) {
	b := &build{
		ref:      manifest.BaseRef{Kind: manifest.BaseBootstrap, Distro: "debian"},
		config:   &manifest.Config{Mirrors: map[string]string{"debian": "https://near.example/debian"}},
		manifest: &manifest.Manifest{Base: manifest.Base{Mirror: "https://first.example/debian/"}},
		lock: &manifest.Lock{Repositories: []manifest.Repository{
			{Location: "https://first.example/debian", Suite: "bookworm", Date: 1700000000},
			{Location: "https://first.example/debian-security", Suite: "bookworm-security", Date: 1700000000},
		}},
	}
	files := b.packageFiles([]manifest.Package{
		{Name: "a", Location: "https://first.example/debian/pool/a.deb"},
		{Name: "b", Location: "https://first.example/debian-security/pool/b.deb"},
		{Name: "c", Location: "https://other.example/pool/c.deb"},
	})
	for i, want := range [][]string{
		{"https://near.example/debian/pool/a.deb", "https://snapshot.debian.org/archive/debian/20231114T221320Z/pool/a.deb"},
		{"https://near.example/debian-security/pool/b.deb", "https://snapshot.debian.org/archive/debian-security/20231114T221320Z/pool/b.deb"},
		nil,
	} {
		if !slices.Equal(files[i].Mirrors, want) {
			t.Errorf("%s may also be at %q, want %q", files[i].URL, files[i].Mirrors, want)
		}
	}
}
