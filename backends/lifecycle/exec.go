package lifecycle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/tty"
)

// ExecOptions are what the command line says of one more process.
type ExecOptions struct {
	// Process changes the document's process into the one to run. Its arguments are empty before.
	Process     func(p *rspec.Process) error
	PidFile     string
	Console     string // path of the socket that the terminal's master is sent to
	PreserveFDs int
	KeepKeyring bool
	Detach      bool // do not wait for its end
	Stdio       backends.Stdio
}

// Exec runs one more process in a container.
func (s *Store) Exec(ctx context.Context, id string, o ExecOptions) (backends.Exit, error) {
	c, err := s.open(id)
	if err != nil {
		return backends.Exit{}, err
	}
	defer c.close()
	pidfd, err := c.pidfd()
	if err != nil {
		return backends.Exit{}, fmt.Errorf("%s cannot execute anything: container not running", id)
	}
	defer unix.Close(pidfd)
	p, err := c.execPlan(o)
	if err != nil {
		return backends.Exit{}, err
	}
	started, err := c.join(p, pidfd, o)
	if err != nil {
		return backends.Exit{}, nsproc.Explain("execute in "+id, err)
	}
	if o.PidFile != "" {
		if err := writeFile(o.PidFile, strconv.Itoa(started.Pid)); err != nil {
			unix.Kill(started.Pid, unix.SIGKILL)
			return backends.Exit{}, err
		}
	}
	if o.Console != "" && started.Master >= 0 {
		if err := sendMaster(started.Master, o.Console); err != nil {
			unix.Kill(started.Pid, unix.SIGKILL)
			return backends.Exit{}, err
		}
		started.Master = -1
	}
	if o.Detach {
		return backends.Exit{}, nil
	}
	return started.Foreground(ctx, o.Stdio)
}

// execPlan checks the process and makes what it is run by.
func (c *container) execPlan(o ExecOptions) (*plan, error) {
	spec := new(rspec.Spec)
	if err := c.load(documentName, spec); err != nil {
		return nil, err
	}
	if spec.Process == nil {
		spec.Process = new(rspec.Process)
	}
	spec.Process.Args, spec.Process.Terminal = nil, false
	if err := o.Process(spec.Process); err != nil {
		return nil, err
	}
	if spec.Process.Terminal && o.Detach && o.Console == "" {
		return nil, invalid("a detached process with a terminal needs a console socket")
	}
	p, err := newPlan(c.id, c.rec.Bundle, c.store.path(c.id), spec)
	if err != nil {
		return nil, err
	}
	for _, w := range p.warnings {
		c.store.Warn(w)
	}
	p.attr.KeepKeyring = o.KeepKeyring
	return p, nil
}

func (c *container) join(p *plan, pidfd int, o ExecOptions) (*nsproc.Started, error) {
	session := &nsproc.Session{
		Pidfd: pidfd, Flags: c.rec.Join,
		Command: nsproc.Command{Process: p.Spec.Process, UserNS: c.rec.UserNS, Filter: p.Filter, FilterFlags: p.FilterFlags, Attributes: p.attr},
		Stdio:   [3]int{0, 1, 2},
	}
	if p.Spec.Process.Terminal && o.Console == "" {
		session.Size = tty.Size(o.Stdio.In, o.Stdio.Out)
	}
	apart := nsproc.Apart{Preserve: o.PreserveFDs, Root: -1, Groups: c.rec.Groups.Dirs, Image: imageFile}
	if c.rec.Join&unix.CLONE_NEWNS == 0 {
		root, err := os.Open(filepath.Join("/proc", strconv.Itoa(c.rec.Pid), "root"))
		if err != nil {
			return nil, err
		}
		defer root.Close()
		apart.Root = int(root.Fd())
	}
	return session.StartApart(apart)
}

// sendMaster sends a terminal's master to a socket and closes it.
func sendMaster(master int, file string) error {
	defer unix.Close(master)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := connect(fd, file); err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, []byte("/dev/ptmx"), unix.UnixRights(master), nil, 0); err != nil {
		return fmt.Errorf("send the terminal: %w", err)
	}
	return nil
}
