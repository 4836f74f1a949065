// Package oci is the backend that runs containers through an OCI runtime's command line: crun, youki or runc.
//
// # How
//
// A process is made as in the namespace backend, with a user, a mount and a pid namespace of ours. It mounts the root
// file system on the bundle's rootfs, checks it, gives the runtime what old versions of it need (a /proc of the pid
// namespace, one cgroup layout) and becomes "RUNTIME run". So the runtime is process 1 of a pid namespace around the
// container: when it is killed, everything goes with it, mounts and the runtime's state too, which is on a file system
// that only these namespaces see.
//
// # Who runs the command
//
// The runtime makes the container: its namespaces, mounts, devices, masked paths and first process. That first process
// is the same as in the namespace backend (package pid1), handed to the runtime as an open descriptor, and sessions
// join it as they do there (package nsproc). Otherwise the first session's command would be process 1, deaf to signals
// and everybody's end when it ends; a failure to execute could be told from a command's exit code only by reading the
// runtime's messages; and a session whose supervisor is killed would leave its command behind. It is also faster than
// "RUNTIME exec".
//
// # What the runtime is told
//
// config.json is the spec that every backend gets, without a user namespace, and with the first process.
//
// Runtimes of old follow symbolic links of the root file system while they prepare /dev, /proc and mounts. Therefore
// the merged root is checked first, with openat2: nothing on the way to any of these may be a link.
package oci

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// Runtime is one OCI runtime. It has no state.
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
	if err := backends.Forget(ctx, c.State); err != nil {
		return err
	}
	return clean(c)
}

// Run implements backends.Runtime.
func (r *Runtime) Run(ctx context.Context, c *backends.Container, io backends.Stdio) (backends.Exit, error) {
	p, err := nsproc.BeginPlan(c)
	if err != nil {
		return backends.Exit{}, err
	}
	made := &container{Runtime: r, plan: p, initial: p.Initial()}
	return nsproc.Run(ctx, r.name, p, io, made.start)
}
