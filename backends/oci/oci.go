// Package oci is the backend that runs containers through an OCI runtime's command line: crun, runc or youki.
package oci

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

// Runtime is one OCI runtime.
type Runtime struct {
	name string // crun, runc or youki
	path string
}

// New returns the backend for the runtime of that name; "oci" is the first one of backends.OCIRuntimes that is there.
// Runtimes are looked for in PATH, then in dirs.
func New(_ context.Context, name string, dirs []string) (*Runtime, error) {
	names := []string{name}
	if name == "oci" {
		names = backends.OCIRuntimes()
	}
	for _, n := range names {
		if path := backends.FindRuntime(n, dirs); path != "" {
			return &Runtime{name: n, path: path}, nil
		}
	}
	return nil, &backends.Error{
		Kind: backends.Prerequisite, Op: "find the OCI runtime " + name, Err: errors.New("it is not installed"),
		Hint: "install crun, or use --backend namespace",
	}
}

// Name is the runtime's name.
func (r *Runtime) Name() string { return r.name }

// State implements backends.Runtime.
func (*Runtime) State(_ context.Context, c *backends.Container) (backends.Status, error) {
	return backends.Running(c.State)
}

// Kill implements backends.Runtime.
func (*Runtime) Kill(_ context.Context, c *backends.Container, sig unix.Signal) error {
	return backends.Signal(c.State, sig)
}

// Delete implements backends.Runtime.
func (*Runtime) Delete(ctx context.Context, c *backends.Container) error {
	return backends.Forget(ctx, c.State)
}

// Run implements backends.Runtime.
func (r *Runtime) Run(context.Context, *backends.Container, backends.Stdio) (backends.Exit, error) {
	return backends.Exit{}, &backends.Error{Op: "run " + r.name, Err: errors.New("not yet")}
}
