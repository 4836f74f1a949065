package manifest_test

import (
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

// Only the value changes, however it is written.
func TestWithBaseImage(t *testing.T) {
	const image = `https://images.example.org/a_b/rootfs.tar.xz@sha256:0000000000000000000000000000000000000000000000000000000000000000`
	for name, text := range map[string]string{
		"table":     "# first\nmanifest_version = 1\n\n[system]\npackages = [ 'a' ] # why\n[base] # here\n  image   =   OLD   # comment \"quoted\"\nmirror = \"https://m.example.org\"\n",
		"dotted":    "manifest_version = 1\nbase.image = OLD\n",
		"inline":    "manifest_version = 1\nbase = { mirror = 'https://m.example.org', image = OLD } # end",
		"crlf":      "manifest_version = 1\r\n[base]\r\nimage = OLD\r\n",
		"mark":      "\xef\xbb\xbfmanifest_version = 1\n[base]\nimage = OLD\n",
		"quoted":    "manifest_version = 1\n[\"base\"]\n\"image\" = OLD\n[env]\nimage = \"debian\"\n",
		"end":       "manifest_version = 1\n[base]\nimage = OLD",
		"other":     "manifest_version = 1\n[env]\nA = \"debian\"\n[base]\nimage = OLD\n",
		"non-ascii": "# ümläut\nmanifest_version = 1\n[base]\nimage = OLD # ü\n",
	} {
		for _, old := range []string{`"debian"`, `'debian'`, `" debian "`, `"\u0064ebian"`, `"""debian"""`, `'''debian'''`, "\"\"\"\ndebian\"\"\""} {
			if name == "inline" && strings.Contains(old, "\n") {
				continue
			}
			before, after := strings.ReplaceAll(text, "OLD", old), strings.ReplaceAll(text, "OLD", `"`+image+`"`)
			got, err := manifest.WithBaseImage("t.toml", []byte(before), image)
			if err != nil || string(got) != after {
				t.Errorf("%s, %s: %v\n%q\n%q", name, old, err, got, after)
			}
		}
	}
}

func TestWithBaseImageRefuses(t *testing.T) {
	if got, err := manifest.WithBaseImage("t.toml", []byte("manifest_version = 1\n"), "debian"); err == nil {
		t.Errorf("a manifest without a base: %q", got)
	}
	for _, image := range []string{"", "nothing such", "debian\x00", "de\"bian"} {
		if got, err := manifest.WithBaseImage("t.toml", []byte("manifest_version = 1\n[base]\nimage = \"debian\"\n"), image); err == nil {
			t.Errorf("%q became %q", image, got)
		}
	}
}
