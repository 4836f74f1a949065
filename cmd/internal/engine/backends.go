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

// BackendInfo is one backend of this host.
type BackendInfo struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"`
	Version   string   `json:"version"`
	Path      string   `json:"path"`
	Reason    string   `json:"reason"` // why it is not available
	Features  []string `json:"features"`
}

// Backends tells what can run environments here.
func (e *Engine) Backends(ctx context.Context) []BackendInfo {
	var out []BackendInfo
	for _, i := range backends.Detect(ctx, e.BackendDirs) {
		b := BackendInfo{Name: i.Name, Available: i.Available, Version: i.Version, Path: i.Path, Reason: i.Reason, Features: append([]string{}, i.Features...)}
		var why *backends.Error
		if err := oci.Unusable(i.Name); b.Available && errors.As(err, &why) {
			b.Available, b.Reason = false, why.Err.Error()
		}
		out = append(out, b)
	}
	return out
}

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
