package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

func TestBlobLimit(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.Blob = 100_000 })
	big := bytes.Repeat([]byte("x"), 100_001)
	s.do("PUT", withDigest(s.begin("r"), digest.FromBytes(big)), bytes.NewReader(big)).want(t, 413)
	s.do("PATCH", s.begin("r"), bytes.NewReader(big)).want(t, 413)
	location := s.do("PATCH", s.begin("r"), bytes.NewReader(big[:60_000])).want(t, 202).header.Get("Location")
	s.do("PATCH", location, bytes.NewReader(big[:60_000])).want(t, 413)
	s.do("GET", "/v2/r/blobs/"+digest.FromBytes(big).String(), nil).want(t, 404)
	s.blob("r", big[:100_000])
}

func TestQuota(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.Total = 300_000 })
	s.push("r", "v1", "small")
	big := bytes.Repeat([]byte("x"), 300_001)
	a := s.do("PUT", withDigest(s.begin("r"), digest.FromBytes(big)), bytes.NewReader(big)).want(t, 507)
	if !strings.Contains(string(a.body), "full") {
		t.Errorf("%s", a.body)
	}
	if err := s.whole("r", "v1"); err != nil {
		t.Error(err)
	}
	s.push("r", "v2", "small too") // what was refused takes no room
	s.do("DELETE", "/v2/r/manifests/v1", nil).want(t, 202)
}

// The space that is to stay free is not filled, and reading goes on.
func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	s := start(t, func(c *config.Config) { c.Storage.Path = dir })
	s.push("r", "v1", "text")
	s.halt()
	s = start(t, func(c *config.Config) { c.Storage.Path, c.Limits.Free = dir, 1<<60 })
	s.do("POST", "/v2/r/blobs/uploads/", nil).want(t, 507)
	if err := s.whole("r", "v1"); err != nil {
		t.Error(err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := start(t, func(c *config.Config) { c.Storage.Path = dir })
	s.push("r", "v1", "text")
	c := config.Default()
	c.Listen, c.Storage.Path = "127.0.0.1:0", dir
	if err := serve(t.Context(), c, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "served already") {
		t.Errorf("a second server: %v", err)
	}
	mirror := start(t, func(c *config.Config) { c.Storage.Path, c.ReadOnly = dir, true })
	if err := mirror.whole("r", "v1"); err != nil {
		t.Error(err)
	}
	layer := digest.FromString("text").String()
	for _, w := range [][2]string{{"POST", "/v2/r/blobs/uploads/"}, {"PUT", "/v2/r/manifests/v2"}, {"DELETE", "/v2/r/manifests/v1"}, {"DELETE", "/v2/r/blobs/" + layer}} {
		mirror.do(w[0], w[1], nil).want(t, 405)
	}
}

// A disk that is full gives errors that say so, never a broken image, and goes on when there is room again.
func TestDiskFull(t *testing.T) {
	if dir := os.Getenv("KARAPACE_TEST_SMALL_DISK"); dir != "" {
		fillDisk(t, dir)
		return
	}
	dir := t.TempDir()
	flags := []string{"-m"}
	if os.Getuid() != 0 {
		flags = []string{"-rm"}
	}
	cmd := exec.Command("unshare", append(flags, "sh", "-c", `mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"`, dir, os.Args[0], "-test.run", "^TestDiskFull$", "-test.v")...)
	cmd.Env = append(os.Environ(), "KARAPACE_TEST_SMALL_DISK="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestDiskFull")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	s := start(t, func(c *config.Config) { c.Storage.Path, c.Limits.Free = dir, 0 })
	s.push("r", "v1", "text")
	random := bytes.Repeat([]byte("random"), 1<<19)
	kept := s.blob("r", random)
	d := digest.FromBytes(append(random, random...))
	a := s.do("PUT", withDigest(s.begin("r"), d), bytes.NewReader(append(random, random...))).want(t, 507)
	if !strings.Contains(string(a.body), "disk") {
		t.Errorf("%s", a.body)
	}
	filler := dir + "/filler"
	if err := os.Mkdir(filler, 0o700); err != nil {
		t.Fatal(err)
	}
	size := 64 << 20
	for i, refused := 0, 0; refused < 5; i++ { // the last pages one by one
		if err := os.WriteFile(fmt.Sprintf("%s/%d", filler, i), make([]byte, size), 0o600); err != nil {
			refused++
			size = 4 << 10
		}
	}
	for _, path := range []string{"/v2/r/blobs/uploads/", "/v2/q/blobs/uploads/"} {
		s.do("POST", path, nil).want(t, 507)
	}
	cfg := s.do("GET", "/v2/r/blobs/"+digest.FromString(`{"text":"text"}`).String(), nil).want(t, 200)
	if string(cfg.body) != `{"text":"text"}` {
		t.Errorf("%q", cfg.body)
	}
	if err := s.whole("r", "v1"); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filler); err != nil {
		t.Fatal(err)
	}
	s.do("DELETE", "/v2/r/blobs/"+kept.Digest.String(), nil).want(t, 202)
	s.push("r", "v2", "more")
	if err := s.whole("r", "v2"); err != nil {
		t.Error(err)
	}
}
