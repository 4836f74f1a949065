package engine

import (
	"path/filepath"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/cmd/internal/probe"
)

// probeMounts bind this program into a container as a probe, and the file that it reports to, if there is to be one.
func (e *Engine) probeMounts(report string) []rspec.Mount {
	real := func(path string) string { // backends follow no links
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			return resolved
		}
		return path
	}
	mounts := []rspec.Mount{{Destination: probe.Path, Type: "bind", Source: real(e.Program), Options: []string{"bind", "ro", "nosuid", "nodev"}}}
	if report != "" {
		mounts = append(mounts, rspec.Mount{Destination: probe.ReportPath, Type: "bind", Source: real(report), Options: []string{"bind", "rw", "nosuid", "nodev", "noexec"}})
	}
	return mounts
}
