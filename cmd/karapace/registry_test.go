package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// asregistry LAYOUT DIR REPOSITORY TAG gives an OCI layout of one image the paths of a registry that only reads.
func asRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: asregistry LAYOUT DIR REPOSITORY TAG")
	}
	layout, repo := ts.MkAbs(args[0]), filepath.Join(ts.MkAbs(args[1]), "v2", args[2])
	var index struct{ Manifests []struct{ Digest string } }
	body, err := os.ReadFile(filepath.Join(layout, "index.json"))
	ts.Check(err)
	ts.Check(json.Unmarshal(body, &index))
	for _, dir := range []string{"blobs", "manifests"} {
		ts.Check(os.MkdirAll(filepath.Join(repo, dir), 0o755))
	}
	entries, err := os.ReadDir(filepath.Join(layout, "blobs", "sha256"))
	ts.Check(err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", e.Name()))
		ts.Check(err)
		name := "sha256:" + e.Name()
		for _, kind := range []string{"blobs", "manifests"} {
			ts.Check(os.WriteFile(filepath.Join(repo, kind, name), b, 0o644))
		}
		if name == index.Manifests[0].Digest {
			ts.Check(os.WriteFile(filepath.Join(repo, "manifests", args[3]), b, 0o644))
		}
	}
}

// startRegistry gives the command registry: it starts Debian's docker-registry on loopback, empty, as $REGISTRY, until the
// script ends.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: registry")
	}
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "registry-")
	ts.Check(err)
	addr, stop, err := testground.ServeRegistry(dir)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("REGISTRY", addr)
}

// serveOurs runs karapace-server with its data in a directory, for whoever comes.
func serveOurs(dir string) (addr string, stop func(), err error) {
	if addr, err = testground.FreeAddress(); err != nil {
		return "", nil, err
	}
	stop, err = testground.Answering(exec.Command(filepath.Join(binaries, "karapace-server"), "--listen", addr, "--storage-path", filepath.Join(dir, "data")), addr)
	return addr, stop, err
}
