package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// A tag that is moved while it is pulled gives one environment or the other, whole: the registry is asked once what it leads to.
func TestPullOfMovingTag(t *testing.T) {
	b := newStateBench(t)
	addr, stop, err := testground.ServeRegistry(t.TempDir())
	must(t, err)
	defer stop()
	must(t, os.WriteFile(filepath.Join(b.dir, "other.toml"), []byte("manifest_version = 1\n[base]\nimage = \"./base.tar\"\n[env]\nOTHER = \"yes\"\n"), 0o644))
	images := map[string]bool{}
	for name, file := range map[string]string{"first": "t.toml", "second": "other.toml"} {
		b.karapace("build", file, "--name", name)
		images[field(b.karapace("inspect", name, "--json"), "image_digest")] = true
		b.karapace("push", name, addr+"/team/t:"+name)
	}
	if len(images) != 2 {
		t.Fatalf("images %v", images)
	}
	b.karapace("destroy", "--all", "--force")

	var asked, first atomic.Int64 // requests for the tag, and how many of them get the first image
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutSuffix(r.URL.Path, "/manifests/moving"); ok {
			to := "second"
			if asked.Add(1) <= first.Load() {
				to = "first"
			}
			r.URL.Path = name + "/manifests/" + to
		}
		proxy.ServeHTTP(w, r)
	}))
	defer door.Close()
	ref := strings.TrimPrefix(door.URL, "http://") + "/team/t:moving"
	for n := range int64(3) {
		asked.Store(0)
		first.Store(n)
		out, err := b.command("pull", ref, "--name", "t").CombinedOutput()
		if err != nil {
			t.Errorf("moved at request %d: %v\n%s", n+1, err, out)
			continue
		}
		if got := field(b.karapace("inspect", "t", "--json"), "image_digest"); !images[got] {
			t.Errorf("moved at request %d: the image is %s, which nobody has pushed", n+1, got)
		}
		b.karapace("verify", "t")
		b.karapace("exec", "t", "--", "true")
		if n := asked.Load(); n != 1 {
			t.Errorf("the tag was asked for %d times: after the first time there is a digest", n)
		}
		b.karapace("destroy", "--all", "--force")
		b.karapace("gc")
	}
}
