package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
)

// image DIR FILE VERSION OS/RELEASE... puts a root file system, a tar or a squashfs, under these names into the tree of
// an image server, and makes its index anew.
func image(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: image DIR FILE VERSION OS/RELEASE...")
	}
	dir, name, arch := ts.MkAbs(args[0]), "rootfs.tar.xz", distro.DebianArch(runtime.GOARCH)
	body, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if strings.HasSuffix(args[1], ".squashfs") {
		name = "rootfs.squashfs"
	} else {
		body = compressed(ts, body)
	}
	for _, product := range args[3:] {
		path := filepath.Join(dir, "images", product, arch, "default", args[2], name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, body, 0o644))
	}
	ts.Check(writeIndex(dir))
}

// compressed is xz's work: whole systems are too much for the encoder in Go.
func compressed(ts *testscript.TestScript, body []byte) []byte {
	cmd := exec.Command("xz", "-0", "--threads=2", "--stdout")
	cmd.Stdin = bytes.NewReader(body)
	out, err := cmd.Output()
	ts.Check(err)
	return out
}

type object = map[string]any

// writeIndex describes what lies below DIR/images as LXC's servers do.
func writeIndex(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "images/*/*/*/*/*/*"))
	if err != nil {
		return err
	}
	products := map[string]object{}
	for _, file := range files {
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		part := strings.Split(rel, "/")
		name := strings.Join(part[1:5], ":")
		if products[name] == nil {
			products[name] = object{"os": strings.ToUpper(part[1][:1]) + part[1][1:], "release": part[2], "arch": part[3], "variant": part[4],
				"aliases": part[1] + "/" + part[2] + "/default," + part[1] + "/" + part[2], "versions": object{}}
		}
		versions := products[name]["versions"].(object)
		if versions[part[5]] == nil {
			versions[part[5]] = object{"items": object{}}
		}
		sum, size, err := fileSum(file)
		if err != nil {
			return err
		}
		ftype := map[string]string{"rootfs.tar.xz": "root.tar.xz", "rootfs.squashfs": "squashfs"}[part[6]]
		versions[part[5]].(object)["items"].(object)[ftype] = object{"ftype": ftype, "path": rel, "sha256": sum, "size": size}
	}
	streams := filepath.Join(dir, "streams", "v1")
	if err := os.MkdirAll(streams, 0o755); err != nil {
		return err
	}
	for name, doc := range map[string]object{
		"images.json": {"content_id": "images", "datatype": "image-downloads", "format": "products:1.0", "products": products},
		"index.json": {"format": "index:1.0", "index": object{
			"images": object{"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json"},
		}},
	} {
		body, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(streams, name), body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func fileSum(path string) (sum string, size int, err error) {
	body, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(body)), len(body), err
}

// signer gives the command sign DIR RING: sign an image server's documents, and write the key ring.
func signer(key *aptrepotest.Key) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: sign DIR RING")
		}
		for _, name := range []string{"index.json", "images.json"} {
			path := filepath.Join(ts.MkAbs(args[0]), "streams/v1", name)
			body, err := os.ReadFile(path)
			ts.Check(err)
			ts.Check(os.WriteFile(path+".gpg", key.Detach(body), 0o644))
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), key.Public(), 0o644))
	}
}
