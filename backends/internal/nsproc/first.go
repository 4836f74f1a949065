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

// Birth describes how a container's first process is made.
type Birth struct {
	Mapping *userns.Mapping // nil: no new user namespace
	Flags   uintptr         // of the new namespaces, without CLONE_NEWUSER
	Join    []Namespace     // that are entered before the new ones are made, a user namespace last
	Groups  []string        // directories of the control groups it enters
	Keep    []int           // descriptors it keeps beside the standard ones, for Late and Last
	// Born is called once the process is there, while its user namespace is being mapped.
	Born func(pid int) error
	// Compose, unless nil, is called after Born, to make ready what Early, Late and Last need. All three are called after it.
	Compose func() error
	// Pause is called when the process has come to a Pause of its program, which goes on when it returns.
	Pause func(pid int, stage byte) error
	// Early is done before the user namespace is mapped, with the credentials of the caller, while that is arranged.
	Early func(p *rawproc.Program)
	// Late is done as root of the user namespace; ctl is for Pause.
	Late func(p *rawproc.Program, ctl int)
	// Last executes a program, which is to write ReadySize zero bytes to ctl.
	Last func(p *rawproc.Program, ctl int)
}

// Namespace is one that is there already.
type Namespace struct {
	FD   int     // opened by the caller
	Flag uintptr // what it is, CLONE_NEW...
}

// First describes the first process of an environment, and what makes it where that is another program.
type First struct {
	Backend string
	Session *envlock.Session
	State   string          // directory for an executable that cannot be in memory
	Mapping *userns.Mapping // nil: no new user namespace
	Flags   uintptr         // of the namespaces, without CLONE_NEWUSER
	Compose func() error    // as in Birth
	Early   func(p *rawproc.Program)
	Late    func(p *rawproc.Program)
	// Last executes the program that is open at exe, with descriptors as package pid1 wants them; itself or another one
	// does. All others but the standard ones are closed.
	Last func(p *rawproc.Program, exe int)
}

// Start makes the first process and waits until it is ready. When that fails, nothing is left of it.
func (f *First) Start(ctx context.Context) (*Process, error) {
	lock, sessions, err := f.Session.Inherit()
	if err != nil {
		return nil, err
	}
	if sessions, err = rawproc.High(sessions); err != nil {
		return nil, err
	}
	defer unix.Close(sessions)
	exe, err := pid1.File(f.State)
	if err != nil {
		return nil, err
	}
	if exe, err = rawproc.High(exe); err != nil {
		return nil, err
	}
	defer unix.Close(exe)
	b := &Birth{
		Mapping: f.Mapping, Flags: f.Flags, Groups: cgroup.Inside(f.Session.Groups), Keep: []int{lock, sessions, exe}, Compose: f.Compose,
		Early: f.Early,
		Late:  func(p *rawproc.Program, _ int) { f.Late(p) },
		Born:  func(pid int) error { return f.Session.Started(f.Backend, pid) },
		Last: func(p *rawproc.Program, ctl int) {
			for _, fd := range [...][2]int{{lock, pid1.LockFD}, {sessions, pid1.SessionsFD}, {ctl, pid1.ControlFD}} {
				p.Call("keep descriptor", unix.SYS_DUP3, rawproc.Int(fd[0]), rawproc.Int(fd[1]), rawproc.Int(0))
			}
			f.Last(p, exe)
		},
	}
	return b.Start(ctx)
}

// Process is a container's first process that is ready, or the parent that makes it.
type Process struct {
	Pid    int
	helper int // a process that entered namespaces for it; 0 is none
	prog   *rawproc.Program
	ctl    int
	there  int // the process's own end of it
}

// Start makes the first process and waits until it is ready. When that fails, nothing is left of it.
func (b *Birth) Start(ctx context.Context) (*Process, error) {
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	proc := &Process{ctl: ctl[0], prog: new(rawproc.Program)}
	err = b.clone(proc, ctl[1])
	if err == nil {
		stop := context.AfterFunc(ctx, func() { unix.Shutdown(ctl[0], unix.SHUT_RDWR) })
		err = b.admit(proc)
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

func (b *Birth) clone(proc *Process, childCtl int) error {
	childCtl, err := rawproc.High(childCtl)
	if err != nil {
		return err
	}
	defer unix.Close(childCtl)
	groups, err := cgroup.Open(b.Groups)
	if err != nil {
		return err
	}
	defer cgroup.Close(groups)

	flags := b.Flags
	if len(groups) > 0 { // a cgroup namespace is to begin at the container's own group
		flags &^= unix.CLONE_NEWCGROUP
	}
	if b.Mapping != nil {
		flags |= unix.CLONE_NEWUSER
	}
	if len(b.Join) > 0 {
		b.enterFirst(proc.prog, childCtl, flags)
		flags = 0
	}
	proc.there = childCtl
	b.begin(proc.prog, childCtl, groups)
	pid, err := proc.prog.Start(flags)
	if err != nil {
		return userns.CloneError(err)
	}
	if len(b.Join) == 0 {
		proc.Pid = pid
		return nil
	}
	proc.helper = pid
	return nil
}

// enterFirst makes the process that Start makes enter namespaces, after which a child of it goes on with the program.
func (b *Birth) enterFirst(p *rawproc.Program, ctl int, flags uintptr) {
	p.Report(ctl)
	for _, ns := range b.Join {
		p.Call("enter namespace by path", unix.SYS_SETNS, rawproc.Int(ns.FD), rawproc.Int(ns.Flag))
	}
	p.Clone("make the container's first process", flags)
	p.Call("come into being", unix.SYS_WRITE, rawproc.Int(ctl), rawproc.Bytes([]byte{stageBorn}), rawproc.Int(1))
}

// stageBorn is written by a process whose pid its maker does not know.
const stageBorn byte = 255

// admit lets the process go on when its user namespace is mapped.
func (b *Birth) admit(proc *Process) error {
	if proc.helper != 0 {
		if err := proc.awaitBorn(); err != nil {
			return err
		}
	}
	var mapping userns.Applying
	if b.Mapping != nil {
		mapping = b.Mapping.Begin(proc.Pid)
	}
	composed := b.compose(proc)
	if err := mapping.Wait(); err != nil {
		return err
	}
	if composed != nil {
		return composed
	}
	if err := proc.Go(); err != nil {
		return err
	}
	return proc.awaitReady(b.Pause)
}

// compose gives the process the rest of its program.
func (b *Birth) compose(proc *Process) error {
	if b.Born != nil {
		if err := b.Born(proc.Pid); err != nil {
			return err
		}
	}
	if b.Compose != nil {
		if err := b.Compose(); err != nil {
			return err
		}
	}
	b.finish(proc.prog, proc.there)
	return proc.Go()
}

func (proc *Process) awaitBorn() error {
	stage, err := proc.message()
	if err != nil {
		return err
	}
	if stage != stageBorn {
		return errors.New("the container's first process speaks out of turn")
	}
	proc.Pid = proc.prog.Forked()
	return nil
}

// awaitReady waits for what Last writes, and calls pause whenever the process waits for that.
func (proc *Process) awaitReady(pause func(pid int, stage byte) error) error {
	for {
		stage, err := proc.message()
		if err != nil || stage == 0 {
			return err
		}
		if err := pause(proc.Pid, stage); err != nil {
			return err
		}
		if err := proc.Go(); err != nil {
			return err
		}
	}
}

// message reads the stage of a pause, 0 for the message that the process is ready, or the report of a failure. The end
// of the channel means that everybody who had it is dead.
func (proc *Process) message() (stage byte, err error) {
	report := make([]byte, rawproc.MessageSize)
	n, err := proc.read(report)
	runtime.KeepAlive(proc)
	switch {
	case err != nil:
		return 0, fmt.Errorf("start the container's first process: %w", err)
	case n == 0:
		return 0, ErrDied
	case n == 1:
		return report[0], nil
	case slices.Equal(report[:n], make([]byte, pid1.ReadySize)):
		return 0, nil
	}
	return 0, proc.prog.ParseReport(report[:n])
}

// read gets one message of the control channel. That its other end was closed before all was read there is told first, once;
// behind it is what was said.
func (proc *Process) read(b []byte) (int, error) {
	n, err := read(proc.ctl, b)
	if err == unix.ECONNRESET {
		n, err = read(proc.ctl, b)
	}
	return n, err
}

// Pause makes the process wait until Birth.Pause has returned. The stage is neither 0 nor 255.
func Pause(p *rawproc.Program, ctl int, stage byte) {
	p.Call("pause", unix.SYS_WRITE, rawproc.Int(ctl), rawproc.Bytes([]byte{stage}), rawproc.Int(1))
	awaitGo(p, "pause", ctl)
}

func awaitGo(p *rawproc.Program, label string, ctl int) {
	p.Call(label, unix.SYS_READ, rawproc.Int(ctl), rawproc.Bytes(make([]byte, 1)), rawproc.Int(1)).ExitIfZero()
}

// ErrDied says that a first process ended without saying why.
var ErrDied = errors.New("the container's first process has died")

// begin is the part of the program that needs neither Early, Late nor Last.
func (b *Birth) begin(p *rawproc.Program, ctl int, groups []*os.File) {
	p.Report(ctl)
	keep := append([]int{ctl}, b.Keep...)
	for _, g := range groups {
		keep = append(keep, int(g.Fd()))
	}
	keepOnly(p, keep)
	enterGroups(p, groups)
	if len(groups) > 0 && b.Flags&unix.CLONE_NEWCGROUP != 0 {
		p.Call("make cgroup namespace", unix.SYS_UNSHARE, rawproc.Int(unix.CLONE_NEWCGROUP))
	}
	p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
	p.Call("set umask", unix.SYS_UMASK, rawproc.Int(0o022))
	p.Call("leave the terminal", unix.SYS_SETSID)
	awaitGo(p, "wait for the rest", ctl)
	p.Reload()
}

// finish is the rest.
func (b *Birth) finish(p *rawproc.Program, ctl int) {
	b.Early(p)
	awaitGo(p, "wait for the mapping", ctl)
	if b.ownUser() {
		p.BecomeRoot()
	}
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	b.Late(p, ctl)
	b.Last(p, ctl)
}

// ownUser says whether the process is in another user namespace than the caller.
func (b *Birth) ownUser() bool {
	return b.Mapping != nil || slices.ContainsFunc(b.Join, func(ns Namespace) bool { return ns.Flag == unix.CLONE_NEWUSER })
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
	_, err := unix.Write(proc.ctl, []byte{0})
	if err == unix.EPIPE { // it has died, and may have said why
		if _, err := proc.message(); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("start the container's first process: %w", err)
	}
	return nil
}

// AwaitClosed waits until nobody else has the control channel any more.
func (proc *Process) AwaitClosed() error {
	n, err := proc.read(make([]byte, 1))
	if err == nil && n > 0 {
		err = errors.New("the container's first process speaks out of turn")
	}
	return err
}

// Kill ends the process, and the container with it.
func (proc *Process) Kill() {
	if proc.helper != 0 && proc.Pid == 0 {
		unix.Kill(proc.helper, unix.SIGKILL)
		rawproc.Wait(proc.helper)
		proc.Pid, proc.helper = proc.prog.Forked(), 0
	}
	for _, pid := range [...]int{proc.Pid, proc.helper} {
		if pid != 0 {
			unix.Kill(pid, unix.SIGKILL)
			rawproc.Wait(pid)
		}
	}
	unix.Close(proc.ctl)
}

// Destroy ends a process that Free was called for, or Start's end.
func (proc *Process) Destroy() {
	unix.Kill(proc.Pid, unix.SIGKILL)
	rawproc.Wait(proc.Pid)
}

// Free gives back what the caller has of the process, which has executed another program and which the caller waits for.
func (proc *Process) Free() {
	proc.prog.Released()
	unix.Close(proc.ctl)
	if proc.helper != 0 {
		rawproc.Wait(proc.helper)
	}
}

// Release lets go of the process, which lives on. A caller that lives on too reaps it when it has ended.
func (proc *Process) Release() {
	proc.Free()
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
