package rawproc

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// rawClone returns in the parent when neither the child nor the child that this has made by a Clone op uses its stack any more:
// the kernel has the number of the latter at parentTid, and clears the word at childTid.
//
//go:noescape
func rawClone(flags, parentTid, childTid uintptr) (pid, errno uintptr)

// rawSpawn calls the Go code at fn with p on another stack. It lets p escape to the heap, for the caller's own stack
// may move while the child runs.
func rawSpawn(flags, stack, childTid uintptr, fn, p unsafe.Pointer) (pid, errno uintptr)

// stackSize is ample for functions that are never more than the 800 bytes deep which the linker allows without a
// stack check.
const stackSize = 8192

// manyRegs is how many more registers a program that a child has begun may have before they move to another place, and what the
// child writes meanwhile is lost.
const manyRegs = 1024

const futexWait = 0 // FUTEX_WAIT, not private: the kernel wakes without that flag

// Error is the failure of one op.
type Error struct {
	Label string
	Errno unix.Errno
}

func (e *Error) Error() string { return e.Label + ": " + e.Errno.Error() }

func (e *Error) Unwrap() error { return e.Errno }

// ReportSize is the size of a failure's report in bytes.
const ReportSize = 8

// Start makes a child by clone(2) with the flags and SIGCHLD that executes the program on a stack of its own in the
// caller's memory, at the same time as the caller goes on. All its signals are blocked. The caller waits for it, and
// calls Released before it lets go of p. A failure of the program is told through Report.
func (p *Program) Start(flags uintptr) (pid int, err error) {
	p.begun = p.ops
	p.regs = slices.Grow(p.regs, manyRegs)
	p.stack = make([]byte, stackSize)
	top := uintptr(unsafe.Pointer(unsafe.SliceData(p.stack))) + stackSize - 64
	return p.clone(flags|unix.CLONE_VM, top&^15)
}

// Released waits until the child that Start has made does not use the caller's memory any more, because it has executed
// another program or ended, nor a child that it had begun when it was killed.
func (p *Program) Released() {
	cleared(&p.borrowed)
	if p.forked != 0 && p.regs[p.forked] != 0 {
		cleared(&p.lent)
	}
}

// cleared waits until the kernel has cleared a word of a child's.
func cleared(word *uint32) {
	for {
		n := atomic.LoadUint32(word)
		if n == 0 {
			return
		}
		// The kernel wakes those who wait for the word. An error means that it has changed already.
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(n), 0, 0, 0)
	}
}

// Run makes a child that borrows the calling thread and its memory, which are given back when the child has executed
// another program or ended. A failure of the program is returned as an *Error, with the child already waited for.
// Otherwise the caller waits for the child with the pid returned, which is the Clone op's where there is one.
func (p *Program) Run(flags uintptr) (pid int, err error) {
	pid, err = p.clone(flags|unix.CLONE_VM|unix.CLONE_VFORK, 0)
	if err != nil {
		return 0, err
	}
	children := []int{pid}
	if p.forked != 0 && p.regs[p.forked] != 0 {
		pid = int(p.regs[p.forked])
		children = append(children, pid)
	}
	if p.failed[0] == 0 {
		children = children[:len(children)-1]
	}
	for _, child := range children {
		if _, err := Wait(child); err != nil {
			return 0, fmt.Errorf("wait for process %d: %w", child, err)
		}
	}
	if p.failed[0] != 0 {
		return 0, p.failure(p.failed[0], p.failed[1])
	}
	return pid, nil
}

func (p *Program) clone(flags, stack uintptr) (int, error) {
	if len(p.regs) == 0 {
		p.Reg()
	}
	pid, errno := p.fork(flags|uintptr(unix.SIGCHLD), stack)
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, fmt.Errorf("clone: %w", unix.Errno(errno))
	}
	return int(pid), nil
}

//go:noinline
//go:norace
func (p *Program) fork(flags, stack uintptr) (pid, errno uintptr) {
	child := execute // a function's value points to the address of its code
	code := **(**unsafe.Pointer)(unsafe.Pointer(&child))
	beforeFork()
	if stack != 0 {
		p.borrowed = 1
		pid, errno = rawSpawn(flags|unix.CLONE_CHILD_CLEARTID, stack, uintptr(unsafe.Pointer(&p.borrowed)), code, unsafe.Pointer(p))
	} else {
		var forked, lent uintptr
		if p.forked != 0 {
			forked, lent = uintptr(unsafe.Pointer(&p.regs[p.forked])), uintptr(unsafe.Pointer(&p.lent))
		}
		pid, errno = rawClone(flags, forked, lent)
		if errno == 0 && pid == 0 {
			afterForkInChild()
			execute(p)
		}
	}
	afterFork()
	return pid, errno
}

// ParseReport turns what a child has written to its Report descriptor into an *Error.
func (p *Program) ParseReport(b []byte) error {
	if len(b) != ReportSize {
		return fmt.Errorf("the child gave no report")
	}
	return p.failure(binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]))
}

func (p *Program) failure(op, errno uint32) error {
	if op == 0 || int(op) > len(p.ops) {
		return fmt.Errorf("the child's report is damaged")
	}
	return &Error{Label: p.ops[op-1].label, Errno: unix.Errno(errno)}
}

// execute runs the program in the child and never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func execute(p *Program) {
	base, n := unsafe.Pointer(unsafe.SliceData(p.begun)), len(p.begun)
	if n == 0 { // it borrows the parent's stack, and the parent waits
		base, n = unsafe.Pointer(unsafe.SliceData(p.ops)), len(p.ops)
	}
	for pc := 0; pc < n; pc++ {
		op := *(**Op)(unsafe.Add(base, uintptr(pc)*unsafe.Sizeof(base)))
		switch op.kind {
		case opClone:
			pid, errno := rawClone(op.nr, uintptr(unsafe.Pointer(p.reg(uintptr(op.dst)))), uintptr(unsafe.Pointer(&p.lent)))
			if errno != 0 {
				p.fail(pc, errno)
			}
			if pid != 0 {
				// The child has run on this stack: no variable is what it was.
				exit(0)
			}
			continue
		case opReload:
			base, n = unsafe.Pointer(unsafe.SliceData(p.ops)), len(p.ops)
			continue
		case opFail:
			errno := *p.reg(uintptr(op.edst))
			if errno == 0 {
				errno = uintptr(op.allow[0])
			}
			if errno == 0 {
				continue
			}
			p.fail(pc, errno)
		}
		r, errno := p.call(op)
		if errno == 0 {
			if op.dst != 0 {
				*p.reg(uintptr(op.dst)) = r
			}
			if op.flow == flowOK {
				pc += int(op.skip)
			}
			if op.flow == flowZero && r == 0 || op.flow == flowNonZero && r != 0 {
				exit(0)
			}
			continue
		}
		if !op.allowed(errno) {
			p.fail(pc, errno)
		}
		if op.edst != 0 {
			*p.reg(uintptr(op.edst)) = errno
		}
		if op.flow == flowErr {
			pc += int(op.skip)
		}
	}
	exit(0)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (p *Program) call(op *Op) (r, errno uintptr) {
	for {
		r, _, e := syscall.RawSyscall6(op.nr, p.arg(op, 0), p.arg(op, 1), p.arg(op, 2), p.arg(op, 3), p.arg(op, 4), p.arg(op, 5))
		if e != syscall.EINTR && !(op.again && e == syscall.EAGAIN) {
			return r, uintptr(e)
		}
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func (p *Program) arg(op *Op, i uintptr) uintptr {
	a := (*Arg)(unsafe.Add(unsafe.Pointer(&op.args), i*unsafe.Sizeof(op.args[0])))
	switch a.kind {
	case argNumber:
		return a.n
	case argReg:
		return *p.reg(a.n)
	case argRegAddr:
		return uintptr(unsafe.Pointer(p.reg(a.n)))
	}
	return uintptr(a.ptr)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (p *Program) reg(i uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(p.regs)), i*unsafe.Sizeof(i)))
}

//go:nosplit
//go:norace
func (o *Op) allowed(errno uintptr) bool {
	if o.any {
		return true
	}
	a := &o.allow
	e := uint16(errno)
	return a[0] == e || a[1] == e || a[2] == e || a[3] == e || a[4] == e || a[5] == e
}

//go:nosplit
//go:norace
//go:nocheckptr
func (p *Program) fail(pc int, errno uintptr) {
	p.failed[0] = uint32(pc) + 1
	p.failed[1] = uint32(errno)
	if p.report != 0 {
		syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.report-1), uintptr(unsafe.Pointer(&p.failed)), ReportSize)
	}
	exit(failCode)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}

// Wait waits for a child by its pid.
func Wait(pid int) (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		if err != unix.EINTR {
			return ws, err
		}
	}
}
