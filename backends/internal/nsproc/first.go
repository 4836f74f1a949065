// Package nsproc makes the processes of a container: the first one, which makes its namespaces and its root file
// system, and those that sessions put beside it. Both are programs of system calls (package rawproc), which this
// package puts together from the parts that every backend needs.
package nsproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/pid1"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/userns"
)

// First describes a container's first process, and what makes it where that is another program.
type First struct {
	Backend string
	Session *envlock.Session
	State   string          // directory for an executable that cannot be in memory
	Mapping *userns.Mapping // nil: no new user namespace
	Flags   uintptr         // of the namespaces, without CLONE_NEWUSER
	// Early is done before the user namespace is mapped, with the credentials of the caller, while that is arranged.
	Early func(p *rawproc.Program)
	// Late is done as root of the user namespace.
	Late func(p *rawproc.Program)
	// Last executes the program that is open at exe, with descriptors as package pid1 wants them; itself or another one
	// does. All others but the standard ones are closed.
	Last func(p *rawproc.Program, exe int)
}

// Process is a container's first process that is ready, or the parent that makes it.
type Process struct {
	Pid  int
	prog *rawproc.Program
	ctl  int
}

// Start makes the first process and waits until it is ready. When that fails, nothing is left of it.
func (f *First) Start(ctx context.Context) (*Process, error) {
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	proc := &Process{ctl: ctl[0], prog: new(rawproc.Program)}
	err = f.clone(proc, ctl[1])
	if err == nil {
		stop := context.AfterFunc(ctx, func() { unix.Shutdown(ctl[0], unix.SHUT_RDWR) })
		err = f.admit(proc)
		stop()
	}
	if err == nil {
		return proc, nil
	}
	proc.Kill()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, err
}

func (f *First) clone(proc *Process, childCtl int) error {
	childCtl, err := rawproc.High(childCtl)
	if err != nil {
		return err
	}
	defer unix.Close(childCtl)
	lock, sessions, err := f.Session.Inherit()
	if err != nil {
		return err
	}
	if sessions, err = rawproc.High(sessions); err != nil {
		return err
	}
	defer unix.Close(sessions)
	exe, err := pid1.File(f.State)
	if err != nil {
		return err
	}
	if exe, err = rawproc.High(exe); err != nil {
		return err
	}
	defer unix.Close(exe)

	groups, err := cgroup.Open(f.Session.Groups)
	if err != nil {
		return err
	}
	defer cgroup.Close(groups)

	f.program(proc.prog, lock, sessions, childCtl, exe, groups)
	flags := f.Flags
	if len(groups) > 0 { // a cgroup namespace is to begin at the container's own group
		flags &^= unix.CLONE_NEWCGROUP
	}
	if f.Mapping != nil {
		flags |= unix.CLONE_NEWUSER
	}
	if proc.Pid, err = proc.prog.Start(flags); err != nil {
		return userns.CloneError(err)
	}
	return nil
}

// admit lets the process go on when its user namespace is mapped.
func (f *First) admit(proc *Process) error {
	var mapping userns.Applying
	if f.Mapping != nil {
		mapping = f.Mapping.Begin(proc.Pid)
	}
	noted := f.Session.Started(f.Backend, proc.Pid)
	if err := mapping.Wait(); err != nil {
		return err
	}
	if noted != nil {
		return noted
	}
	if _, err := unix.Write(proc.ctl, []byte{0}); err != nil {
		return fmt.Errorf("start the container's first process: %w", err)
	}
	return proc.awaitReady()
}

// awaitReady reads what package pid1 sends when it runs, or the report of a failure. The end of the channel means that
// everybody who had it is dead.
func (proc *Process) awaitReady() error {
	report := make([]byte, rawproc.ReportSize)
	n, err := read(proc.ctl, report)
	runtime.KeepAlive(proc)
	switch {
	case err != nil:
		return fmt.Errorf("start the container's first process: %w", err)
	case n == 0:
		return ErrDied
	case slices.Equal(report[:n], make([]byte, pid1.ReadySize)):
		return nil
	}
	return proc.prog.ParseReport(report[:n])
}

// ErrDied says that a first process ended without saying why.
var ErrDied = errors.New("the container's first process has died")

func (f *First) program(p *rawproc.Program, lock, sessions, ctl, exe int, groups []*os.File) {
	p.Report(ctl)
	keep := []int{lock, sessions, ctl, exe}
	for _, g := range groups {
		keep = append(keep, int(g.Fd()))
	}
	keepOnly(p, keep)
	enterGroups(p, groups)
	if len(groups) > 0 && f.Flags&unix.CLONE_NEWCGROUP != 0 {
		p.Call("make cgroup namespace", unix.SYS_UNSHARE, rawproc.Int(unix.CLONE_NEWCGROUP))
	}
	p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
	p.Call("set umask", unix.SYS_UMASK, rawproc.Int(0o022))
	p.Call("leave the terminal", unix.SYS_SETSID)
	f.Early(p)
	p.Call("wait for the mapping", unix.SYS_READ, rawproc.Int(ctl), rawproc.Addr(p.Reg()), rawproc.Int(1)).ExitIfZero()
	if f.Mapping != nil {
		p.BecomeRoot()
	}
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	f.Late(p)
	for _, fd := range [...][2]int{{lock, pid1.LockFD}, {sessions, pid1.SessionsFD}, {ctl, pid1.ControlFD}} {
		p.Call("keep descriptor", unix.SYS_DUP3, rawproc.Int(fd[0]), rawproc.Int(fd[1]), rawproc.Int(0))
	}
	f.Last(p, exe)
}

// enterGroups puts the process into control groups.
func enterGroups(p *rawproc.Program, groups []*os.File) {
	for _, g := range groups {
		p.Call("enter "+g.Name(), unix.SYS_WRITE, rawproc.Int(g.Fd()), rawproc.Str("0"), rawproc.Int(1))
	}
}

// keepOnly closes every descriptor that is not listed.
func keepOnly(p *rawproc.Program, fds []int) {
	slices.Sort(fds)
	next := 0
	for _, fd := range slices.Compact(fds) {
		if fd > next {
			p.CloseRange(uint32(next), uint32(fd)-1)
		}
		next = fd + 1
	}
	p.CloseRange(uint32(next), ^uint32(0))
}

// Go lets the first process wait for the last session's end, once the caller's own session counts.
func (proc *Process) Go() error {
	if _, err := unix.Write(proc.ctl, []byte{0}); err != nil {
		return fmt.Errorf("start the container's first process: %w", err)
	}
	return nil
}

// Kill ends the process, and the container with it.
func (proc *Process) Kill() {
	if proc.Pid != 0 {
		unix.Kill(proc.Pid, unix.SIGKILL)
		rawproc.Wait(proc.Pid)
	}
	unix.Close(proc.ctl)
}

// Release lets go of the process, which lives on. A caller that lives on too reaps it when it has ended.
func (proc *Process) Release() {
	proc.prog.Released()
	unix.Close(proc.ctl)
	// Not at once: a caller that ends now is spared a thread.
	time.AfterFunc(reapDelay, func() { rawproc.Wait(proc.Pid) })
}

const reapDelay = 100 * time.Millisecond

func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Explain turns an error of this package or of what it uses into a *backends.Error.
func Explain(op string, err error) error {
	if _, ok := err.(*backends.Error); ok || err == nil {
		return err
	}
	return explain(op, err)
}
