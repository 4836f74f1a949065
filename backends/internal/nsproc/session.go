package nsproc

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/tty"
)

// RunSession executes a session's command and supervises it until it ends. The calling goroutine is locked to its
// thread.
func RunSession(ctx context.Context, s *Session, io backends.Stdio) (backends.Exit, error) {
	null, err := s.useStdio(io)
	if err != nil {
		return backends.Exit{}, err
	}
	if null >= 0 {
		defer unix.Close(null)
	}
	started, err := s.Start()
	if err != nil {
		return backends.Exit{}, err
	}
	return started.supervise(ctx, io)
}

func (s *Started) supervise(ctx context.Context, io backends.Stdio) (backends.Exit, error) {
	if s.Master < 0 {
		return Supervise(ctx, s.Pid, true, nil)
	}
	bridge, err := tty.New(io.In, io.Out, s.Master)
	if err != nil {
		unix.Kill(s.Pid, unix.SIGKILL)
		rawproc.Wait(s.Pid)
		return backends.Exit{}, err
	}
	defer bridge.Close()
	return Supervise(ctx, s.Pid, true, bridge)
}

// useStdio takes the descriptors of io, with null, which the caller closes, for what is nil there.
func (s *Session) useStdio(io backends.Stdio) (null int, err error) {
	null = -1
	for i, f := range [...]*os.File{io.In, io.Out, io.Err} {
		if f != nil {
			s.Stdio[i] = int(f.Fd())
			continue
		}
		if null < 0 {
			if null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
				return -1, fmt.Errorf("open %s: %w", os.DevNull, err)
			}
		}
		s.Stdio[i] = null
	}
	return null, nil
}

// OtherBackend is the error of a session that finds the container run by another backend.
func OtherBackend(name string) error {
	if name == "" {
		name = "another"
	}
	return &backends.Error{
		Kind: backends.Busy, Op: "join the environment", Err: errors.New("it is running under the backend " + name),
		Hint: "use --backend " + name + ", or stop the environment first",
	}
}
