package lifecycle

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// RunOptions are those of create, and what run adds to them.
type RunOptions struct {
	CreateOptions
	Detach bool // do not wait for the container's end
	Keep   bool // do not delete it after its end
	Stdio  backends.Stdio
}

// Run creates a container, starts it, waits for its end and deletes it. It returns the exit code a shell would report.
func (s *Store) Run(ctx context.Context, id string, o RunOptions) (int, error) {
	started := &nsproc.Started{Master: -1}
	if !o.Detach && o.Console == "" {
		o.Terminal = func(master int) error {
			started.Master = master
			return nil
		}
	}
	proc, err := s.Create(ctx, id, o.CreateOptions)
	if err != nil {
		return 0, err
	}
	started.Pid = proc.Pid
	if err := s.Start(ctx, id); err != nil {
		unix.Kill(proc.Pid, unix.SIGKILL)
		s.Delete(ctx, id, true)
		return 0, err
	}
	if o.Detach {
		return 0, nil
	}
	exit, err := started.Foreground(ctx, o.Stdio)
	if !o.Keep {
		if err2 := s.Delete(ctx, id, true); err == nil {
			err = err2
		}
	}
	return exit.ShellCode(), err
}

// Pids lists the processes of a container.
func (s *Store) Pids(id string) ([]int, error) {
	c, err := s.open(id)
	if err != nil {
		return nil, err
	}
	defer c.close()
	pidfd, err := c.pidfd()
	if err != nil {
		return []int{}, nil
	}
	defer unix.Close(pidfd)
	if pids, err := nsproc.Pids(c.rec.Pid); err == nil {
		return pids, nil
	}
	if len(c.rec.Groups.Made) == 0 {
		return []int{c.rec.Pid}, nil
	}
	return groupPids(c.rec.Groups)
}

// RealRoot says whether uid 0 of the caller's user namespace is the machine's root.
func RealRoot() bool { return nsproc.InitialUserNS() }
