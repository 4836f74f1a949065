package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// A bundle is a directory with an empty rootfs; making one that is there keeps it.
func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundle")
	for range 2 {
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != RootName || !names[0].IsDir() {
		t.Errorf("it holds %v, %v", names, err)
	}
	if err := Create(filepath.Join(dir, "no", "parent")); err == nil {
		t.Error("a bundle without a parent was made")
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Create(filepath.Join(dir, "file")); err == nil {
		t.Error("a bundle was made of a file")
	}
}

func TestEncode(t *testing.T) {
	b, err := Encode(&rspec.Spec{Version: "1.0.2", Hostname: "h"})
	if err != nil {
		t.Fatal(err)
	}
	var back rspec.Spec
	if err := json.Unmarshal(b, &back); err != nil || back.Hostname != "h" || back.Version != "1.0.2" || b[len(b)-1] != '\n' {
		t.Errorf("%s: %v", b, err)
	}
}
