package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/karapace-server/internal/collect"
	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
	"github.com/karapace/karapace/cmd/karapace-server/internal/registry"
)

// gcNow collects what is garbage at this moment.
func gcNow(t *testing.T, c config.Storage, change func(*collect.Options)) collect.Report {
	t.Helper()
	driver, err := registry.Driver(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := registry.LockOf(c)
	if err != nil {
		t.Fatal(err)
	}
	o := collect.Options{UploadExpiry: time.Hour, Now: time.Now().Add(time.Second)}
	if change != nil {
		change(&o)
	}
	report, err := collect.Run(t.Context(), driver, lock, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func kinds(r collect.Report) string {
	var all []string
	for _, x := range r.Removed {
		all = append(all, x.Kind)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestGC(t *testing.T) {
	s := start(t, nil)
	s.push("app", "v1", "kept")
	old := s.push("app", "v2", "replaced")
	s.push("app", "v2", "newer")
	s.blob("app", []byte("never used"))
	s.do("PATCH", s.begin("app"), strings.NewReader("unfinished")).want(t, 202)

	if r := gcNow(t, s.c.Storage, func(o *collect.Options) { o.MinAge = time.Hour }); len(r.Removed) != 0 {
		t.Errorf("what is young was removed: %s", kinds(r))
	}
	dry := gcNow(t, s.c.Storage, func(o *collect.Options) { o.DryRun = true })
	r := gcNow(t, s.c.Storage, nil)
	if kinds(r) != "blob link" || kinds(dry) != kinds(r) || r.Bytes != int64(len("never used")) {
		t.Errorf("removed %s (rehearsal: %s), %d bytes", kinds(r), kinds(dry), r.Bytes)
	}
	if err := s.whole("app", digest.FromBytes(old).String()); err != nil {
		t.Error(err)
	}
	r = gcNow(t, s.c.Storage, func(o *collect.Options) { o.Untagged = true; o.UploadExpiry = -time.Hour })
	if kinds(r) != "blob blob blob link link manifest upload" {
		t.Errorf("removed %s", kinds(r))
	}
	s.do("GET", "/v2/app/manifests/"+digest.FromBytes(old).String(), nil).want(t, 404)
	for _, tag := range []string{"v1", "v2"} {
		if err := s.whole("app", tag); err != nil {
			t.Error(err)
		}
	}
	s.do("DELETE", "/v2/app/manifests/v1", nil).want(t, 202)
	s.do("DELETE", "/v2/app/manifests/v2", nil).want(t, 202)
	if gcNow(t, s.c.Storage, func(o *collect.Options) { o.Untagged = true }); strings.Contains(string(s.do("GET", "/v2/_catalog", nil).body), "app") {
		t.Error("an empty repository stays")
	}
	if r := gcNow(t, s.c.Storage, func(o *collect.Options) { o.Untagged = true }); len(r.Removed) != 0 {
		t.Errorf("not all at once: %s", kinds(r))
	}
	s.push("app", "v1", "kept") // what was removed can come back
	if err := s.whole("app", "v1"); err != nil {
		t.Error(err)
	}
}

// Other digests, images of an index, and what refers to an image live as long as it does.
func TestGCKeepsWhatIsNeeded(t *testing.T) {
	s := start(t, nil)
	cfg := s.blob("app", []byte("{}"))
	long := digest.SHA512.FromString("long")
	s.do("PUT", withDigest(s.begin("app"), long), strings.NewReader("long")).want(t, 201)
	m := image(cfg, nil, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: long, Size: 4})
	child := digest.SHA512.FromBytes(m)
	s.put("app", child.String(), m).want(t, 201)
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{{MediaType: v1.MediaTypeImageManifest, Digest: child, Size: int64(len(m))}}}
	index.SchemaVersion = 2
	content, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	s.do("PUT", "/v2/app/manifests/v1", bytes.NewReader(content), "Content-Type", v1.MediaTypeImageIndex).want(t, 201)
	subject := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromBytes(content), Size: int64(len(content))}
	signature := image(cfg, &subject)
	s.put("app", digest.FromBytes(signature).String(), signature).want(t, 201)

	all := func(o *collect.Options) { o.Untagged = true }
	if r := gcNow(t, s.c.Storage, all); len(r.Removed) != 0 {
		t.Errorf("removed %s", kinds(r))
	}
	if err := s.whole("app", child.String()); err != nil {
		t.Error(err)
	}
	// a registry without the referrers API left no entries: they come back
	if err := os.RemoveAll(filepath.Join(s.c.Storage.Path, "karapace", "v1")); err != nil {
		t.Fatal(err)
	}
	gcNow(t, s.c.Storage, all)
	list := "/v2/app/referrers/" + subject.Digest.String()
	if a := s.do("GET", list, nil).want(t, 200); !strings.Contains(string(a.body), digest.FromBytes(signature).String()) {
		t.Errorf("%s", a.body)
	}
	s.do("DELETE", "/v2/app/manifests/v1", nil).want(t, 202)
	r := gcNow(t, s.c.Storage, all)
	if !strings.Contains(kinds(r), "manifest manifest manifest manifest referrer") {
		t.Errorf("removed %s", kinds(r))
	}
	if files := strings.Join(tree(t, s.c.Storage.Path), "\n"); strings.Contains(files, "/data") || strings.Contains(files, "/link") {
		t.Errorf("left:\n%s", files)
	}
}

// Whatever is answered with 201 is whole, however often garbage is collected meanwhile, with no age to protect it.
func TestGCBesidePushes(t *testing.T) {
	s := start(t, nil)
	until := time.Now().Add(3 * time.Second)
	var pushed, refused, collected int
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range 3 {
		all.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				tag := fmt.Sprintf("w%d-%d", worker, i)
				ok := pushRacing(t, s, tag, []string{fmt.Sprintf("shared %d", i%4), tag}[i%2])
				mu.Lock()
				if ok {
					pushed++
				} else {
					refused++
				}
				mu.Unlock()
				if ok {
					if err := s.whole("app", tag); err != nil {
						t.Error(err)
					}
					s.do("DELETE", "/v2/app/manifests/"+tag, nil)
				}
			}
		})
	}
	count := func(n *int) int {
		mu.Lock()
		defer mu.Unlock()
		return *n
	}
	for time.Now().Before(until) {
		gcNow(t, s.c.Storage, func(o *collect.Options) { o.Untagged = true })
		collected++
		for before := count(&pushed); count(&pushed) == before && time.Now().Before(until); { // or a slow machine never gets to push
			time.Sleep(2 * time.Millisecond)
		}
	}
	all.Wait()
	t.Logf("%d pushed, %d refused, %d collections", pushed, refused, collected)
	if pushed == 0 || collected < 2 {
		t.Error("nothing raced")
	}
}

// pushRacing pushes an image that others push too; a refusal since its blobs went meanwhile is fine.
func pushRacing(t *testing.T, s *testServer, tag, text string) bool {
	cfg := s.blob("app", []byte(`{}`))
	m := image(cfg, nil, s.blob("app", []byte(text)))
	a := s.put("app", tag, m)
	if a.status != 201 && a.status != 400 {
		t.Errorf("%s: %d %s", tag, a.status, a.body)
	}
	return a.status == 201
}
