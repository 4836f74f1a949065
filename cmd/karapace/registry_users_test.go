package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// An environment that one user pushes is the same one for every other who pulls it, whatever the ids that files have in the stores of
// each: it can be entered, built again offline, exported as the same bytes, and pushed again.
func TestTransferBetweenUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be several users")
	}
	if !haveFixtures() {
		t.Skip("hack/setup fixtures makes what this needs")
	}
	root, one, other := newBundleBench(t, nil), newUserBench(t, "karapace-test"), newUserBench(t, "karapace-test2")
	registry, stop, err := serveOurs(t.TempDir())
	must(t, err)
	defer stop()

	base := filepath.Join(t.TempDir(), "base.tar")
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join(fixturesDir(), "repo"))))
	mux.HandleFunc("/base.tar", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, base) })
	repositories := httptest.NewServer(mux)
	must(t, writeFixture(filepath.Join(fixturesDir(), "base", "apt.tar"), base, nil, repositories.URL))
	text := "manifest_version = 1\n[base]\nimage = \"" + repositories.URL + "/base.tar\"\n[system]\npackages = [\"minihello\"]\n"
	must(t, os.WriteFile(filepath.Join(one.dir, "t.toml"), []byte(text), 0o644))
	output1(t, one.command("karapace", "build", "t.toml", "--name", "t"))
	want := one.built(t)
	lock, err := os.ReadFile(filepath.Join(one.dir, "t.lock"))
	must(t, err)
	output1(t, one.command("karapace", "push", "t", registry+"/one/t:1", "--with-packages"))
	exports := one.exports(t)
	repositories.Close()

	from := registry + "/one/t:1"
	for name, b := range map[string]*bundleBench{"another user": other, "root": root} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(b.dir, "t.toml"), []byte(text), 0o644))
			must(t, os.WriteFile(filepath.Join(b.dir, "t.lock"), lock, 0o644))
			output1(t, b.command("karapace", "pull", from, "--name", "t", "--with-packages"))
			check := func() {
				t.Helper()
				if got := b.built(t); got != want {
					t.Errorf("it is %+v, not %+v", got, want)
				}
				if got := output1(t, b.command("karapace", "exec", "t", "--", "minihello")); !strings.HasPrefix(got, "minihello ") {
					t.Errorf("minihello says %q", got)
				}
			}
			check()
			output1(t, b.command("karapace", "rebuild", "t.toml", "--locked", "--offline"))
			check()
			for format, sum := range b.exports(t) {
				if sum != exports[format] {
					t.Errorf("exported as %s it is %s, not %s", format, sum, exports[format])
				}
			}
			again := output1(t, b.command("karapace", "push", "t", registry+"/again/"+filepath.Base(b.dir), "--json"))
			if got := field(again, "digest"); got != want.ImageDigest {
				t.Errorf("pushed again it is %s, not %s", got, want.ImageDigest)
			}
		})
	}
}

func newUserBench(t *testing.T, name string) *bundleBench {
	t.Helper()
	who, err := identity(name)
	must(t, err)
	return newBundleBench(t, who)
}

// built is what the environment is.
func (b *bundleBench) built(t *testing.T) (o output) {
	t.Helper()
	must(t, json.Unmarshal([]byte(output1(t, b.command("karapace", "inspect", "t", "--json"))), &o))
	return o
}

// exports are the digests of what the environment gives when it is exported, by format; a layout's is that of its index, which names the rest.
func (b *bundleBench) exports(t *testing.T) map[string]digest.Digest {
	t.Helper()
	layout := filepath.Join(b.dir, "layout")
	output1(t, b.command("karapace", "export", "t", "--format", "oci", "--force", "-o", layout))
	index, err := os.ReadFile(filepath.Join(layout, "index.json"))
	must(t, err)
	sums := map[string]digest.Digest{"oci": digest.FromBytes(index)}
	for _, format := range []string{"rootfs", "docker-archive"} {
		sums[format] = digest.FromString(output1(t, b.command("karapace", "export", "t", "--format", format, "-o", "-")))
	}
	return sums
}
