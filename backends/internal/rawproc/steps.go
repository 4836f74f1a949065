package rawproc

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Steps that more than one program needs.

// FirstHigh is a descriptor number above all that a program hands to what it executes.
const FirstHigh = 64

// High moves a descriptor of the caller's to FirstHigh or above, out of the way of Redirect, and closes the old one.
func High(fd int) (int, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, FirstHigh)
	unix.Close(fd)
	if err != nil {
		return -1, fmt.Errorf("move descriptor: %w", err)
	}
	return high, nil
}

// SignalMask is the calling process's own signal mask, which a program restores before it executes another.
func SignalMask() *uint64 {
	mask := new(uint64)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(mask)), 8, 0, 0)
	return mask
}

// Unblock restores the signal mask.
func (p *Program) Unblock(mask *uint64) {
	p.Call("unblock signals", unix.SYS_RT_SIGPROCMASK, Int(unix.SIG_SETMASK), Value(mask), Int(0), Int(8))
}

// DieWithParent makes the kernel kill the child when the thread that made it ends. It must come after the last change
// of credentials, which would undo it. The pidfd is the parent's: the child exits if that has died already.
func (p *Program) DieWithParent(pidfd int) {
	p.Call("set parent death signal", unix.SYS_PRCTL, Int(unix.PR_SET_PDEATHSIG), Int(uint(unix.SIGKILL)))
	fds := &unix.PollFd{Fd: int32(pidfd), Events: unix.POLLIN}
	p.Call("look for the parent", unix.SYS_PPOLL, Value(fds), Int(1), Value(new(unix.Timespec)), Int(0), Int(0)).ExitIfNonZero()
}

// Redirect makes the descriptors fds[0], fds[1] ... the child's 0, 1 ...; a negative one is closed. All sources are
// copied out of the way first, so that any may be any other's target.
func (p *Program) Redirect(fds []int) {
	moved := make([]Reg, len(fds))
	for i, fd := range fds {
		if fd < 0 || fd == i {
			continue
		}
		moved[i] = p.Reg()
		p.Call("copy descriptor", unix.SYS_FCNTL, Int(fd), Int(unix.F_DUPFD_CLOEXEC), Int(FirstHigh)).Into(moved[i])
	}
	for i, fd := range fds {
		switch {
		case fd < 0:
			p.Call("close descriptor", unix.SYS_CLOSE, Int(i)).Allow(unix.EBADF)
		case fd == i:
			p.Call("keep descriptor", unix.SYS_FCNTL, Int(i), Int(unix.F_SETFD), Int(0))
		default:
			p.Call("redirect descriptor", unix.SYS_DUP3, R(moved[i]), Int(i), Int(0))
		}
	}
}

// RedirectRegs makes descriptors that the program has opened the child's 0, 1 and 2.
func (p *Program) RedirectRegs(fds ...Reg) {
	moved := make([]Reg, len(fds))
	for i, fd := range fds {
		moved[i] = p.Reg()
		p.Call("copy descriptor", unix.SYS_FCNTL, R(fd), Int(unix.F_DUPFD_CLOEXEC), Int(FirstHigh)).Into(moved[i])
	}
	for i, fd := range moved {
		p.Call("redirect descriptor", unix.SYS_DUP3, R(fd), Int(i), Int(0))
	}
}

// CloseFrom closes every descriptor from first on, except the one to keep when that is not negative.
func (p *Program) CloseFrom(first, keep int) {
	const last = ^uint32(0)
	if keep < first {
		p.CloseRange(uint32(first), last)
		return
	}
	if keep > first {
		p.CloseRange(uint32(first), uint32(keep)-1)
	}
	p.CloseRange(uint32(keep)+1, last)
}

// CloseRange closes the descriptors from first to last.
func (p *Program) CloseRange(first, last uint32) {
	p.Call("close descriptors", unix.SYS_CLOSE_RANGE, Int(first), Int(last), Int(0))
}

// BecomeRoot takes uid and gid 0 of the user namespace, and no supplementary groups.
func (p *Program) BecomeRoot() {
	p.Call("set gid", unix.SYS_SETRESGID, Int(0), Int(0), Int(0))
	p.Call("drop supplementary groups", unix.SYS_SETGROUPS, Int(0), Int(0))
	p.Call("set uid", unix.SYS_SETRESUID, Int(0), Int(0), Int(0))
}
