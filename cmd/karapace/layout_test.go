package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rogpeppe/go-internal/testscript"
)

// layout TAR DIR makes an OCI layout directory whose image is one archive.
func layout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: layout TAR DIR")
	}
	tarball, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	blob := func(b []byte) (digest string) {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		ts.Check(os.WriteFile(filepath.Join(dir, "blobs", "sha256", sum), b, 0o644))
		return "sha256:" + sum
	}
	document := func(v any) []byte {
		b, err := json.Marshal(v)
		ts.Check(err)
		return b
	}
	descriptor := func(mediaType string, b []byte) map[string]any {
		return map[string]any{"mediaType": "application/vnd.oci.image." + mediaType, "digest": blob(b), "size": len(b)}
	}
	layer := descriptor("layer.v1.tar", tarball)
	config := document(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin:/special", "FROM_IMAGE=yes"}, "User": "0", "WorkingDir": "/etc", "Labels": map[string]string{"run.oci.handler": "krun"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{layer["digest"]}},
	})
	m := document(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("config.v1+json", config), "layers": []any{layer},
	})
	index := document(map[string]any{"schemaVersion": 2, "manifests": []any{descriptor("manifest.v1+json", m)}})
	ts.Check(os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}
