// Package nsproc makes the processes of a container: the first one, which makes its namespaces and its root file
// system, and those that sessions put beside it. Both are programs of system calls (package rawproc), which this
// package puts together from the parts that every backend needs.
package nsproc

import (
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/userns"
)

// First describes a container's first process.
type First struct {
	Backend string
	Session *envlock.Session
	Mapping *userns.Mapping // nil: no new user namespace
	Flags   uintptr         // of the namespaces, without CLONE_NEWUSER
	// Early is done before the user namespace is mapped, with the credentials of the caller, while that is arranged.
	Early func(p *rawproc.Program)
	// Late is done as root of the user namespace.
	Late func(p *rawproc.Program)
	// Last takes the record lock (HoldLock) and executes what the process stays, with the descriptors it has kept. When
	// it is ready, and shares no memory with the caller any more, it writes rawproc.ReportSize zero bytes to control.
	Last func(p *rawproc.Program, lock, sessions, control int)
	// Keep are descriptors of the caller's that the process needs until then, all from rawproc.FirstHigh up.
	Keep []int
}

// Process is a first process that is ready.
type Process struct {
	Pid  int
	prog *rawproc.Program
	ctl  int
}

// Start makes the first process. When it fails, nothing is left of it.
func (f *First) Start() (*Process, error) {
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	proc := &Process{ctl: ctl[0], prog: new(rawproc.Program)}
	if err := f.start(proc, ctl[1]); err != nil {
		unix.Close(ctl[0])
		if proc.Pid != 0 {
			unix.Kill(proc.Pid, unix.SIGKILL)
			rawproc.Wait(proc.Pid)
		}
		return nil, err
	}
	return proc, nil
}

func (f *First) start(proc *Process, childCtl int) error {
	if err := f.clone(proc, childCtl); err != nil {
		return err
	}
	return f.admit(proc)
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

	f.program(proc.prog, lock, sessions, childCtl)
	flags := f.Flags
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

// awaitReady reads the report that the process sends when it is ready, which names op 0, or when it has failed.
func (proc *Process) awaitReady() error {
	report := make([]byte, rawproc.ReportSize)
	n, err := read(proc.ctl, report)
	runtime.KeepAlive(proc)
	switch {
	case err != nil:
		return fmt.Errorf("start the container's first process: %w", err)
	case n == 0:
		return fmt.Errorf("start the container's first process: it was killed")
	case slices.Equal(report[:n], ready[:]):
		return nil
	}
	return proc.prog.ParseReport(report[:n])
}

var ready [rawproc.ReportSize]byte

func (f *First) program(p *rawproc.Program, lock, sessions, ctl int) {
	p.Report(ctl)
	keepOnly(p, append([]int{lock, sessions, ctl}, f.Keep...))
	p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
	p.Call("set umask", unix.SYS_UMASK, rawproc.Int(0o022))
	p.Call("leave the terminal", unix.SYS_SETSID)
	p.Call("have children reaped", unix.SYS_RT_SIGACTION, rawproc.Int(uint(unix.SIGCHLD)), rawproc.Value(ignoreSignal()), rawproc.Int(0), rawproc.Int(8))
	f.Early(p)
	p.Call("wait for the mapping", unix.SYS_READ, rawproc.Int(ctl), rawproc.Addr(p.Reg()), rawproc.Int(1)).ExitIfZero()
	if f.Mapping != nil {
		p.BecomeRoot()
	}
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	f.Late(p)
	f.Last(p, lock, sessions, ctl)
}

// HoldLock takes the record lock that tells the process's pid, on a descriptor that is the process's only one of the
// lock file: closing any other would give the lock back.
func HoldLock(p *rawproc.Program, fd int) {
	p.Call("hold the lock", unix.SYS_FCNTL, rawproc.Int(fd), rawproc.Int(unix.F_SETLK), rawproc.Value(envlock.RecordLock()))
}

// ignoreSignal is the kernel's struct sigaction with SIG_IGN.
func ignoreSignal() *[4]uintptr { return &[4]uintptr{1} }

// keepOnly closes every descriptor that is not listed.
func keepOnly(p *rawproc.Program, fds []int) {
	slices.Sort(fds)
	next := 0
	for _, fd := range fds {
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

// Release lets go of the process, which lives on. A caller that lives on too reaps it when it has ended.
func (proc *Process) Release() {
	proc.prog.Released()
	unix.Close(proc.ctl)
	go rawproc.Wait(proc.Pid)
}

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
