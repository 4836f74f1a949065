// Package bundle makes and opens OCI bundles: a directory with config.json and rootfs (runtime-spec, "Filesystem Bundle").
//
// A bundle of an environment has an empty rootfs, which is only ever a mount point; config.json is written for backends
// that are other programs and read it, and is gone when the session ends.
package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// ConfigName and RootName are the names the runtime-spec gives.
const (
	ConfigName = "config.json"
	RootName   = "rootfs"
)

// Create makes the directory of a bundle with an empty rootfs. The parent must exist; a bundle that is there is kept.
func Create(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, RootName)} {
		if err := os.Mkdir(d, 0o755); err != nil && !os.IsExist(err) {
			return fmt.Errorf("create bundle: %w", err)
		}
	}
	return nil
}

// Encode gives the bytes of config.json.
func Encode(spec *rspec.Spec) ([]byte, error) {
	b, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ConfigName, err)
	}
	return append(b, '\n'), nil
}
