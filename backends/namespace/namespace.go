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
	"errors"
	"runtime"

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
	// A command dies with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := compile(c)
	if err != nil {
		return backends.Exit{}, &backends.Error{Kind: backends.Invalid, Op: "read the spec", Err: err}
	}
	for {
		exit, err := p.run(ctx, io)
		if !errors.Is(err, errEnded) {
			return exit, nsproc.Explain("run in the environment", err)
		}
	}
}

// errEnded says that the container ended while it was being joined.
var errEnded = errors.New("the container has just ended")

func (p *plan) run(ctx context.Context, io backends.Stdio) (backends.Exit, error) {
	lock, err := envlock.Acquire(ctx, p.c.State)
	if err != nil {
		return backends.Exit{}, err
	}
	defer lock.Close()
	if lock.Starting {
		first, err := p.start(lock)
		if err != nil {
			return backends.Exit{}, nsproc.Explain("start the environment", err)
		}
		defer first.Release()
		if err := lock.Ready(); err != nil {
			return backends.Exit{}, err
		}
		if err := first.Go(); err != nil {
			return backends.Exit{}, err
		}
	} else if lock.Backend != Name {
		return backends.Exit{}, nsproc.OtherBackend(lock.Backend)
	}
	return p.session(ctx, lock, io)
}

func (p *plan) session(ctx context.Context, lock *envlock.Session, io backends.Stdio) (backends.Exit, error) {
	s := &nsproc.Session{
		Pidfd: lock.Pidfd, UserNS: p.c.Mapping != nil, Flags: p.flags, Process: p.c.Spec.Process, Filter: p.filter, FilterFlags: p.filterFlags,
	}
	exit, err := nsproc.RunSession(ctx, s, io)
	if (errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOMEM)) && envlock.Dead(lock.Pidfd) {
		return exit, errEnded
	}
	return exit, err
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
