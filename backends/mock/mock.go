// Package mock is a backend for tests and for looking at everything but isolation: it executes commands of an
// environment's root file system as ordinary processes of the host, with the caller's credentials and nothing mounted.
//
// It keeps what does not depend on isolation: the locks that say what runs, exit codes, standard streams, signals and
// the environment of the command, which is looked for in the layers of the root. A container is as long-lived as the
// session that started it.
package mock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// Name is what this backend is called in manifests and messages.
const Name = "mock"

// Runtime is the backend. It has no state.
type Runtime struct{}

// New returns the backend.
func New() *Runtime { return &Runtime{} }

// Name is "mock".
func (*Runtime) Name() string { return Name }

// Run implements backends.Runtime.
func (*Runtime) Run(ctx context.Context, c *backends.Container, io backends.Stdio) (backends.Exit, error) {
	// A command dies with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := nsproc.NewPlan(c); err != nil {
		return backends.Exit{}, err
	}
	exit, err := run(ctx, c, io)
	return exit, nsproc.Explain("run in the environment", err)
}

func run(ctx context.Context, c *backends.Container, io backends.Stdio) (backends.Exit, error) {
	lock, err := envlock.Acquire(ctx, c.State, c.Waiting)
	if err != nil {
		return backends.Exit{}, err
	}
	defer lock.Close()
	if lock.Starting {
		if err := nsproc.MayStart(c); err != nil {
			return backends.Exit{}, err
		}
		lock.Profile = c.Profile
		if err := lock.HoldMyself(Name); err != nil {
			return backends.Exit{}, err
		}
	} else if err := nsproc.MayJoin(c, lock, Name); err != nil {
		return backends.Exit{}, err
	}
	cmd, err := command(c, io)
	if err != nil {
		return backends.Exit{}, err
	}
	return nsproc.RunChild(ctx, func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, execError(c.Spec.Process.Args[0], err)
		}
		return cmd.Process.Pid, nil
	})
}

func command(c *backends.Container, io backends.Stdio) (*exec.Cmd, error) {
	p := c.Spec.Process
	path, err := look(&c.Rootfs, p.Args[0], p.Env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: path, Args: p.Args, Env: p.Env,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL},
	}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if io.In != nil {
		cmd.Stdin = io.In
	}
	if io.Out != nil {
		cmd.Stdout = io.Out
	}
	if io.Err != nil {
		cmd.Stderr = io.Err
	}
	return cmd, nil
}

// look finds a command in the layers of the root, the topmost first.
func look(root *backends.Rootfs, name string, env []string) (string, error) {
	dirs := []string{""}
	if !strings.Contains(name, "/") {
		dirs = strings.Split(nsproc.SearchPath(env), ":")
	}
	layers := append([]string{root.Upper, root.Dir}, root.Lower...)
	var last error = unix.ENOENT
	for _, dir := range dirs {
		for _, layer := range layers {
			if layer == "" {
				continue
			}
			path := filepath.Join(layer, dir, name)
			st, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			case err != nil:
				last = err
			case st.IsDir() || st.Mode()&0o111 == 0:
				last = unix.EACCES
			default:
				return path, nil
			}
		}
	}
	return "", execError(name, last)
}

func execError(name string, err error) error {
	kind := backends.NotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		kind = backends.NotFound
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &backends.Error{Kind: kind, Op: fmt.Sprintf("execute %s", name), Err: err}
}

// State implements backends.Runtime.
func (*Runtime) State(_ context.Context, c *backends.Container) (backends.Status, error) {
	return backends.Running(c.State)
}

// Kill implements backends.Runtime: the session that started the container gets the signal.
func (*Runtime) Kill(_ context.Context, c *backends.Container, sig unix.Signal) error {
	return backends.Signal(c.State, sig)
}

// Delete implements backends.Runtime.
func (*Runtime) Delete(ctx context.Context, c *backends.Container) error {
	return backends.Forget(ctx, c.State)
}
