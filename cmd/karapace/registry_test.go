package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
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
	addr, stop, err := serveRegistry(dir)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("REGISTRY", addr)
}

// serveRegistry runs docker-registry with its data in a directory.
func serveRegistry(dir string) (addr string, stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", nil, fmt.Errorf("the tests need the package docker-registry: %w", err)
	}
	if addr, err = freeAddress(); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage:\n  filesystem: {rootdirectory: %s/data}\n  delete: {enabled: true}\nhttp: {addr: %q, secret: s}\n", dir, addr)
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return "", nil, err
	}
	stop, err = answering(exec.Command(program, "serve", config), addr)
	return addr, stop, err
}

// serveOurs runs karapace-server with its data in a directory, for whoever comes.
func serveOurs(dir string) (addr string, stop func(), err error) {
	if addr, err = freeAddress(); err != nil {
		return "", nil, err
	}
	stop, err = answering(exec.Command(filepath.Join(binaries, "karapace-server"), "--listen", addr, "--storage-path", filepath.Join(dir, "data")), addr)
	return addr, stop, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answering starts a registry, and waits for it.
func answering(cmd *exec.Cmd, addr string) (stop func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for range 1200 {
		if resp, err := http.Get("http://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			return stop, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not answer at %s", cmd.Path, addr)
}
