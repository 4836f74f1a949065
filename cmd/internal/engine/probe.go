package engine

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/cmd/internal/probe"
)

// probeMounts bind this program into a container as a probe, and the file that it reports to, if there is to be one.
func (e *Engine) probeMounts(report string) []rspec.Mount {
	mounts := []rspec.Mount{{Destination: probe.Path, Type: "bind", Source: e.Program, Options: []string{"bind", "ro", "nosuid", "nodev"}}}
	if report != "" {
		mounts = append(mounts, rspec.Mount{Destination: probe.ReportPath, Type: "bind", Source: report, Options: []string{"bind", "rw", "nosuid", "nodev", "noexec"}})
	}
	return mounts
}
