package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/namespace"
	"github.com/karapace/karapace/backends/oci"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// runtime is the backend for a session: the one asked for, else the configuration's, else the environment's own.
func (e *Engine) runtime(ctx context.Context, r *storage.Record, asked string) (backends.Runtime, error) {
	if asked != "" {
		return Runtime(ctx, asked, e.BackendDirs)
	}
	text, err := readFile(e.ConfigFile, manifestLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return Runtime(ctx, r.Backend, e.BackendDirs)
	}
	if err != nil {
		return nil, failure.New(failure.General, fmt.Errorf("read configuration: %w", err), "")
	}
	config, err := manifest.ParseConfig(e.ConfigFile, text)
	if err != nil {
		return nil, failure.New(failure.General, err, "")
	}
	return Runtime(ctx, cmp.Or(config.Backend, r.Backend), e.BackendDirs)
}

// Runtime returns the backend with a name of the manifest's: namespace, oci, crun, runc or youki.
func Runtime(ctx context.Context, name string, dirs []string) (backends.Runtime, error) {
	switch name {
	case "", "namespace":
		return namespace.New(), nil
	case "oci", "crun", "runc", "youki":
		rt, err := oci.New(ctx, name, dirs)
		return rt, backendFailure(err)
	default:
		return nil, failure.New(failure.Backend, fmt.Errorf("there is no backend %q", name), "karapace backends shows what there is")
	}
}
