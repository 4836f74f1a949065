package manifest_test

import (
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

func TestParseImageRef(t *testing.T) {
	const d = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for s, want := range map[string][2]string{
		"registry.example.org/team/work:1":     {"oci://registry.example.org/team/work:1", "1"},
		" oci://registry.example.org/work ":    {"oci://registry.example.org/work", "latest"},
		"localhost:5000/a/b" + d:               {"oci://localhost:5000/a/b" + d, d[1:]},
		"docker://debian:12":                   {"oci://docker.io/library/debian:12", "12"},
		"registry.example.org/team/work:1" + d: {"oci://registry.example.org/team/work:1" + d, d[1:]},
	} {
		r, err := manifest.ParseImageRef(s)
		if err != nil || r.String() != want[0] || r.Reference() != want[1] {
			t.Errorf("%q: %s, %s, %v", s, r, r.Reference(), err)
		}
	}
	for s, want := range map[string]string{
		"work":                      "names no registry",
		"":                          "names no registry",
		"bootstrap:debian/bookworm": "",
		"https://example.org/a.tar": "names no image in a registry",
		"example.org/UPPER":         "repository",
		"example.org/a:b:c":         "",
		"example.org/a@sha256:1":    "not a SHA-256",
	} {
		if r, err := manifest.ParseImageRef(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v", s, r, err)
		}
	}
}
