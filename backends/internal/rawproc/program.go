// Package rawproc makes child processes that never run Go: a program of system calls, prepared as data by the parent
// and executed one by one by the child of a raw clone.
//
// A Go process cannot enter a user namespace or become the first process of a pid namespace by itself, since it has
// many threads, and executing a second Go program that is told what to do costs more than all the work it does. The
// child of a clone, however, has one thread, and may do anything that needs neither memory nor the scheduler.
//
// # Vocabulary
//
// A Program is a list of ops. An op is one system call with arguments that are numbers, memory of the program or
// registers; its result may go to a register. An error that the op does not allow ends the program: the child
// leaves the op's index and the errno where the parent finds them, and exits. Three ops are no plain calls: Clone
// continues the program in a child of the child, Fail ends it with an errno that is in a register, and Reload takes notice
// of ops that the parent has appended while the child was waiting.
//
// # Invariants
//
// All memory that a program refers to is reachable from it, and Go does not move heap memory. The child shares the
// memory until it executes another program: it allocates nothing, grows no stack, writes no pointer, and takes no
// signal while the parent runs beside it. A program runs once.
package rawproc

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reg is one of a program's registers. The zero Reg is none.
type Reg uint16

// Exit code of a child whose program failed.
const failCode = 125

type argKind uint8

const (
	argNumber argKind = iota
	argReg
	argString
	argBytes
	argStrings
	argRegAddr
	argFilter
)

// Arg is an argument of a system call.
type Arg struct {
	kind argKind
	n    uintptr        // a number, a register, or the size of the memory
	ptr  unsafe.Pointer // memory, kept alive by being here
}

// Int is a number; file descriptors and flags are numbers too.
func Int[T ~int | ~uint | ~int32 | ~int64 | ~uint32 | ~uint64 | ~uintptr](n T) Arg {
	return Arg{n: uintptr(n)}
}

// R is the value of a register at the time of the call.
func R(r Reg) Arg { return Arg{kind: argReg, n: uintptr(r)} }

// Addr is the address of a register: a call that writes a number of 8 bytes or less there sets the register, which
// was 0 if nothing else has been written to it.
func Addr(r Reg) Arg { return Arg{kind: argRegAddr, n: uintptr(r)} }

// Str is the address of a NUL-terminated copy of s, up to the first NUL in it.
func Str(s string) Arg {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return Arg{kind: argString, n: uintptr(len(s)), ptr: unsafe.Pointer(unsafe.SliceData(b))}
}

// Bytes is the address of b, which is not copied.
func Bytes(b []byte) Arg {
	return Arg{kind: argBytes, n: uintptr(len(b)), ptr: unsafe.Pointer(unsafe.SliceData(b))}
}

// Value is the address of *v, which is not copied.
func Value[T any](v *T) Arg {
	return Arg{kind: argBytes, n: unsafe.Sizeof(*v), ptr: unsafe.Pointer(v)}
}

// Array is the address of the first of the values, which are not copied; there is at least one.
func Array[T any](list []T) Arg {
	return Arg{kind: argBytes, n: uintptr(len(list)) * unsafe.Sizeof(list[0]), ptr: unsafe.Pointer(unsafe.SliceData(list))}
}

// Strs is the address of a NULL-terminated array of C strings, an argv or envp.
func Strs(list []string) Arg {
	ptrs := make([]unsafe.Pointer, len(list)+1)
	size := 0
	for _, s := range list {
		size += len(s) + 1
	}
	buf := make([]byte, size+1)
	for i, s := range list {
		ptrs[i] = unsafe.Pointer(unsafe.SliceData(buf))
		buf = buf[copy(buf, s)+1:]
	}
	return Arg{kind: argStrings, n: uintptr(len(list)), ptr: unsafe.Pointer(unsafe.SliceData(ptrs))}
}

// Filter is the address of the kernel's struct sock_fprog for a filter that has instructions, which are not copied.
func Filter(code []unix.SockFilter) Arg {
	prog := &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	return Arg{kind: argFilter, n: unsafe.Sizeof(*prog), ptr: unsafe.Pointer(prog)}
}

type opKind uint8

const (
	opCall opKind = iota
	opClone
	opFail
	opReload
)

// Op is one step of a program. Its methods refine it and return it.
type Op struct {
	kind  opKind
	nargs uint8
	dst   Reg // result of a call that succeeds
	edst  Reg // errno of a call whose error is allowed
	flow  flow
	any   bool
	again bool      // after EAGAIN
	skip  uint16    // ops left out when flow says so
	allow [6]uint16 // numbers of errors
	nr    uintptr
	args  [6]Arg
	label string
}

type flow uint8

const (
	flowNone flow = iota
	flowOK
	flowErr
	flowZero
	flowNonZero
)

// Into stores the result in r.
func (o *Op) Into(r Reg) *Op { o.dst = r; return o }

// ErrInto stores the errno of an allowed error in r.
func (o *Op) ErrInto(r Reg) *Op { o.edst = r; return o }

// Allow makes errors, six at most, no failure of the program.
func (o *Op) Allow(errs ...unix.Errno) *Op {
	for i, err := range errs {
		o.allow[i] = uint16(err)
	}
	return o
}

// AllowAny makes every error but EINTR, after which a call is always repeated, no failure.
func (o *Op) AllowAny() *Op { o.any = true; return o }

// Again makes EAGAIN no failure either: the call is repeated, as openat2(2) asks for when a rename or a mount anywhere on the
// system has come in between. An image cannot do that.
func (o *Op) Again() *Op { o.again = true; return o }

// SkipIfOK leaves out the next n ops when the call succeeds.
func (o *Op) SkipIfOK(n int) *Op { o.flow, o.skip = flowOK, uint16(n); return o }

// SkipIfErr leaves out the next n ops when the call fails with an allowed error.
func (o *Op) SkipIfErr(n int) *Op { o.flow, o.skip = flowErr, uint16(n); return o }

// ExitIfZero makes the child exit when the call gives 0: the end of file of a pipe whose other end has died.
func (o *Op) ExitIfZero() *Op { o.flow = flowZero; return o }

// ExitIfNonZero makes the child exit when the call gives anything but 0.
func (o *Op) ExitIfNonZero() *Op { o.flow = flowNonZero; return o }

// Program is a list of ops and the registers they share. The zero value is an empty program.
type Program struct {
	ops      []*Op
	free     []Op // ops are allocated many at a time
	regs     []uintptr
	forked   Reg         // holds the pid of the last clone's child
	failed   [2]uint32   // index of the op that failed + 1, errno
	report   int         // descriptor + 1 that failed is written to
	stack    []byte      // of a child that does not borrow the parent's
	begun    []*Op       // what such a child goes by until it reloads: the list may have grown into another place since
	left     [][]uintptr // where registers were before, which such a child may still write to
	borrowed uint32      // not 0 while such a child uses the program
	lent     uint32      // not 0 until the Clone op's child, when there is one, uses it no more
}

// Reg returns a register that nothing else uses. It holds 0.
func (p *Program) Reg() Reg {
	if len(p.regs) == 0 {
		p.regs = append(slices.Grow(p.regs, 32), 0)
	}
	if p.begun != nil && len(p.regs) == cap(p.regs) {
		p.left = append(p.left, p.regs)
	}
	p.regs = append(p.regs, 0)
	return Reg(len(p.regs) - 1)
}

// Len is the number of ops.
func (p *Program) Len() int { return len(p.ops) }

// Call appends a system call. The label says what it does, as a verb and a noun, in error messages.
func (p *Program) Call(label string, nr uintptr, args ...Arg) *Op {
	o := p.op(label)
	o.nr, o.nargs = nr, uint8(len(args))
	if copy(o.args[:], args) != len(args) {
		panic("rawproc: too many arguments")
	}
	return o
}

func (p *Program) op(label string) *Op {
	if len(p.free) == 0 {
		p.free = make([]Op, min(8+len(p.ops), 64))
	}
	o := &p.free[0]
	p.free = p.free[1:]
	o.label = label
	p.ops = append(p.ops, o)
	return o
}

// Clone appends a clone that shares memory, after which the child goes on with the program and its parent waits until
// that has executed another program, and exits. The child belongs to the process that has called Run, which returns
// its pid. A program has one Clone at most.
func (p *Program) Clone(label string, flags uintptr) {
	p.forked, p.lent = p.Reg(), 1
	o := p.op(label)
	o.kind, o.dst = opClone, p.forked
	o.nr = flags | unix.CLONE_PARENT | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID | uintptr(unix.SIGCHLD)
}

// Reload appends a point where the child that Start has made takes notice of what has been appended since. The call before
// it must wait for whoever appends.
func (p *Program) Reload() { p.op("take notice of the rest").kind = opReload }

// Forked is the pid of the Clone op's child, 0 before there is one.
func (p *Program) Forked() int { return int(p.regs[p.forked]) }

// Fail appends a failure with the errno that is in r, or otherwise when that is 0. When both are, there is none.
func (p *Program) Fail(label string, r Reg, otherwise unix.Errno) {
	o := p.op(label)
	o.kind, o.edst = opFail, r
	o.allow[0] = uint16(otherwise)
}

// Report makes the child write a failure to the descriptor, as ParseReport expects it. A child that Run makes needs
// none.
func (p *Program) Report(fd int) { p.report = fd + 1 }

// Value returns what a register holds after Run.
func (p *Program) Value(r Reg) uintptr { return p.regs[r] }
