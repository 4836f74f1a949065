package userns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Command is a program to run as root of the user namespace of a Mapping, in a mount namespace of its own that sees
// the host's mounts but whose own mounts the host does not see. With a nil mapping only the mount namespace is new. The
// program has all capabilities and is killed when its starter dies.
type Command struct {
	Path  string     // of the program
	Args  []string   // with the name it is called by first
	Env   []string   // all of it; nil is an empty environment
	Dir   string     // empty: the caller's
	Files []*os.File // its descriptors from 0 on; nil entries are closed
}

// Process is a Command that has been started.
type Process struct{ Pid int }

// Start starts c. It returns when the program executes, or with what kept it from that.
func Start(m *Mapping, c *Command) (*Process, error) {
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	defer unix.Close(ctl[0])
	if ctl[1], err = rawproc.High(ctl[1]); err != nil {
		return nil, err
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		unix.Close(ctl[1])
		return nil, fmt.Errorf("open own process: %w", err)
	}
	defer unix.Close(self)

	p := c.program(m, ctl, self)
	defer runtime.KeepAlive(p)
	flags := uintptr(unix.CLONE_NEWNS)
	if m != nil {
		flags |= unix.CLONE_NEWUSER
	}
	pid, err := p.Start(flags)
	unix.Close(ctl[1])
	if err != nil {
		return nil, CloneError(err)
	}
	if err := c.admit(m, p, pid, ctl[0]); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		rawproc.Wait(pid)
		return nil, err
	}
	return &Process{Pid: pid}, nil
}

// admit maps the child's user namespace, lets it go on, and waits until its execution closes its end of ctl.
func (c *Command) admit(m *Mapping, p *rawproc.Program, pid, ctl int) error {
	if m != nil {
		if err := m.Apply(pid); err != nil {
			return err
		}
	}
	if _, err := unix.Write(ctl, []byte{0}); err != nil {
		return fmt.Errorf("start %s: %w", c.Path, err)
	}
	report := make([]byte, rawproc.ReportSize)
	switch n, err := read(ctl, report); {
	case err != nil:
		return fmt.Errorf("start %s: %w", c.Path, err)
	case n > 0:
		return fmt.Errorf("start %s: %w", c.Path, p.ParseReport(report[:n]))
	}
	runtime.KeepAlive(c)
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

func (c *Command) program(m *Mapping, ctl [2]int, self int) *rawproc.Program {
	p := new(rawproc.Program)
	p.Report(ctl[1])
	p.Call("close descriptor", unix.SYS_CLOSE, rawproc.Int(ctl[0]))
	p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
	p.Call("wait for the mapping", unix.SYS_READ, rawproc.Int(ctl[1]), rawproc.Addr(p.Reg()), rawproc.Int(1)).ExitIfZero()
	if m != nil {
		p.BecomeRoot()
	}
	p.Call("make mounts private", unix.SYS_MOUNT, rawproc.Int(0), rawproc.Str("/"), rawproc.Int(0), rawproc.Int(unix.MS_REC|unix.MS_SLAVE), rawproc.Int(0))
	p.DieWithParent(self)
	if c.Dir != "" {
		p.Call("change directory to "+c.Dir, unix.SYS_CHDIR, rawproc.Str(c.Dir))
	}
	fds := make([]int, len(c.Files))
	for i, f := range c.Files {
		fds[i] = -1
		if f != nil {
			fds[i] = int(f.Fd())
		}
	}
	p.Redirect(fds)
	p.CloseFrom(len(fds), ctl[1])
	p.Unblock(rawproc.SignalMask())
	p.Call("execute", unix.SYS_EXECVE, rawproc.Str(c.Path), rawproc.Strs(c.Args), rawproc.Strs(c.Env))
	return p
}

// Wait waits for the program to end. It is called once.
func (p *Process) Wait() (unix.WaitStatus, error) {
	ws, err := rawproc.Wait(p.Pid)
	if err != nil {
		return ws, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	return ws, nil
}

// Signal sends a signal to the program, which has not been waited for.
func (p *Process) Signal(sig unix.Signal) error {
	if err := unix.Kill(p.Pid, sig); err != nil {
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// CloneError explains why the kernel refused a user namespace.
func CloneError(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return &MissingError{
			Problem: "the kernel refuses new namespaces to this user",
			Remedy:  "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0 where that exists",
		}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return &MissingError{
			Problem: "the kernel's limit of namespaces is reached",
			Remedy:  "raise sysctl user.max_user_namespaces (0 turns user namespaces off)",
		}
	}
	return err
}
