package lifecycle

import (
	"context"
	"errors"
	"fmt"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Start is the start operation.
func (s *Store) Start(ctx context.Context, id string) error {
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.close()
	if status := c.status(); status != rspec.StateCreated {
		return fmt.Errorf("%s cannot be started: it is %s", id, status)
	}
	hooks, err := c.hooks()
	if err != nil {
		return err
	}
	err = c.begin(ctx, hooks)
	if errors.Is(err, errStarted) {
		c.remove(startName)
		return fmt.Errorf("%s cannot be started: %w", id, err)
	}
	if err != nil {
		c.kill()
		return nsproc.Explain("start "+id, err)
	}
	for i := range hooks.Poststart {
		if err := callHooks(ctx, "poststart", hooks.Poststart[i:i+1], c.hookState(rspec.StateRunning), runHook); err != nil {
			s.Warn(err.Error())
		}
	}
	return nil
}

var errStarted = errors.New("it is running")

// begin lets the first process become the user's.
func (c *container) begin(ctx context.Context, hooks *rspec.Hooks) error {
	if !c.rec.Process {
		return &backends.Error{Kind: backends.Invalid, Err: errors.New("its document has no process")}
	}
	if err := callHooks(ctx, "startContainer", hooks.StartContainer, c.hookState(rspec.StateCreated), c.inside); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, c.address(startName)); err == unix.ECONNREFUSED { // a start that was killed
		return errStarted
	} else if err != nil {
		return fmt.Errorf("reach the container's first process: %w", err)
	}
	// The connection ends when the process executes, or with its report.
	message := make([]byte, rawproc.MessageSize)
	n, err := read(fd, message)
	c.remove(startName)
	if err == nil && n > 0 {
		return rawproc.ParseMessage(message[:n])
	}
	return nil
}

func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// kill ends the first process and waits for its end.
func (c *container) kill() {
	pidfd, err := c.pidfd()
	if err != nil {
		return
	}
	defer unix.Close(pidfd)
	unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	for range 100 { // ten seconds
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n > 0 || err != nil && err != unix.EINTR {
			return
		}
	}
}
