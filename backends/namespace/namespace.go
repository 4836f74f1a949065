// Package namespace is the backend that is built in: it runs containers with system calls alone, as fast as the kernel
// allows, without another program and without a daemon.
//
// The container's first process is made by one clone. It prepares the root file system below the caller's mounts,
// moves into it, and becomes a program of a hundred bytes that waits for the last session to end (package pid1). Every
// session, the first one too, then joins its namespaces and executes a command there. See package nsproc for how such
// processes are made, and envlock for the locks that decide who starts and who joins.
//
// What a spec may ask for is what an environment needs; package ocispec makes such specs. The rest of the runtime
// specification, hooks, namespaces by path, id-mapped mounts, security labels and other things, is refused with an
// error of kind Invalid, never left out silently.
package namespace

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// Name is what this backend is called in manifests and messages.
const Name = "namespace"

// Runtime is the backend. It has no state.
type Runtime struct{}

// New returns the backend.
func New() *Runtime { return &Runtime{} }

// Name is "namespace".
func (*Runtime) Name() string { return Name }

// Run implements backends.Runtime.
func (r *Runtime) Run(ctx context.Context, c *backends.Container, io backends.Stdio) (backends.Exit, error) {
	p, err := nsproc.BeginPlan(c)
	if err != nil {
		return backends.Exit{}, err
	}
	return nsproc.Run(ctx, Name, p, io, func(ctx context.Context, lock *envlock.Session) (*nsproc.Process, error) {
		return start(ctx, p, lock)
	})
}

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

// Mountable returns an error when the kernel would refuse the layers of a root file system because they are too many.
func Mountable(fs backends.Rootfs) error {
	_, err := nsproc.NewRoot(&fs, (&nsproc.Plan{Container: &backends.Container{}}).Initial())
	return err
}
