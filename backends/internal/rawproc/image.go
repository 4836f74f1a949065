package rawproc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An image is an executable that does what a program says: the program's ops and all memory they refer to, and an
// interpreter of two hundred bytes. A process that has executed one holds nothing of ours any more: neither our memory,
// while it waits, nor our executable, which whoever it lets in could reach through /proc/self/exe.
//
// It has two segments at fixed addresses. The first has the headers and the code. The second begins with the address of
// the register that holds the descriptor failures are reported to; ops follow it, then registers, then everything else.
const (
	codeBase   = 0x400000
	dataBase   = 0x410000 // pages are 64 KiB at most
	dataOffset = dataBase - codeBase
	headerSize = 64 + 2*56
	opsOffset  = 16 // as the interpreter knows
)

// imageOp is an op as the interpreter reads it. Every argument is the address of a word.
type imageOp struct {
	nr       uint64 // all ones: fail with the first argument, or the second, that is not 0
	args     [6]uint64
	dst      uint64
	next     uint64 // bytes to the op after this one
	edst     uint64
	allow    [6]uint64
	any      uint64
	nextErr  uint64 // the same after an error that is allowed
	label    uint64 // 4 bytes for an errno, and the label
	labelLen uint64
}

const imageOpSize = uint64(unsafe.Sizeof(imageOp{}))

func interpreterAddress() unsafe.Pointer

// interpreterCode copies the interpreter's instructions.
func interpreterCode() []byte {
	all := unsafe.Slice((*byte)(interpreterAddress()), 1024)
	return bytes.Clone(all[:bytes.Index(all, []byte(interpreterEnd))])
}

// imageWriter lays out the second segment.
type imageWriter struct {
	p    *Program
	data []byte
	regs uint64 // address of register 0, which takes results that nobody wants
}

// Image makes an executable of the program, which must have no Clone and exits with 0 at its end unless it executes
// another one. A failure is written to the descriptor in the register report as one message, which ParseMessage reads.
// The registers keep what they hold.
func (p *Program) Image(report Reg) ([]byte, error) {
	if len(p.regs) == 0 {
		p.Reg()
	}
	w := &imageWriter{p: p}
	exit := &Op{nr: unix.SYS_EXIT_GROUP, nargs: 1, label: "exit"}
	ops := append(p.ops[:len(p.ops):len(p.ops)], exit)
	w.data = make([]byte, opsOffset+len(ops)*int(imageOpSize))
	w.regs = w.words(p.regs)
	w.put(0, w.reg(report))
	for i, op := range ops {
		o, err := w.op(op)
		if err != nil {
			return nil, err
		}
		copy(w.data[opsOffset+i*int(imageOpSize):], unsafe.Slice((*byte)(unsafe.Pointer(o)), imageOpSize)) // little-endian, as all here
	}
	return w.elf(), nil
}

func (w *imageWriter) put(at int, v uint64) { binary.LittleEndian.PutUint64(w.data[at:], v) }

// add appends bytes, aligned to a word, and gives their address.
func (w *imageWriter) add(b []byte) uint64 {
	for len(w.data)%8 != 0 {
		w.data = append(w.data, 0)
	}
	w.data = append(w.data, b...)
	return dataBase + uint64(len(w.data)-len(b))
}

func (w *imageWriter) words(list []uintptr) uint64 {
	var b []byte
	for _, n := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return w.add(b)
}

func (w *imageWriter) reg(r Reg) uint64 { return w.regs + 8*uint64(r) }

func (w *imageWriter) op(op *Op) (*imageOp, error) {
	if op.kind == opClone || op.kind == opReload || op.again || op.flow == flowZero || op.flow == flowNonZero {
		return nil, fmt.Errorf("%s: an image cannot do that", op.label)
	}
	o := &imageOp{nr: uint64(op.nr), dst: w.reg(op.dst), edst: w.reg(op.edst), next: imageOpSize, nextErr: imageOpSize}
	for i := range o.args {
		o.args[i] = w.word(op.args[i])
	}
	for i, errno := range op.allow {
		o.allow[i] = uint64(errno)
	}
	if op.any {
		o.any = 1
	}
	switch op.flow {
	case flowOK:
		o.next += uint64(op.skip) * imageOpSize
	case flowErr:
		o.nextErr += uint64(op.skip) * imageOpSize
	}
	if op.kind == opFail {
		o.nr = math.MaxUint64
		o.args[0], o.args[1] = w.reg(op.edst), w.words([]uintptr{uintptr(op.allow[0])})
	}
	message := append(make([]byte, 4), op.label...)
	o.label, o.labelLen = w.add(message), uint64(len(message))
	return o, nil
}

// word gives the address of an argument's value.
func (w *imageWriter) word(a Arg) uint64 {
	switch a.kind {
	case argReg:
		return w.reg(Reg(a.n))
	case argRegAddr:
		return w.words([]uintptr{uintptr(w.reg(Reg(a.n)))})
	case argString:
		return w.words([]uintptr{uintptr(w.add(unsafe.Slice((*byte)(a.ptr), a.n+1)))})
	case argBytes:
		return w.words([]uintptr{uintptr(w.add(unsafe.Slice((*byte)(a.ptr), a.n)))})
	case argStrings:
		return w.words([]uintptr{uintptr(w.strings(a))})
	case argFilter:
		return w.words([]uintptr{uintptr(w.filter(a))})
	}
	return w.words([]uintptr{a.n})
}

func (w *imageWriter) strings(a Arg) uint64 {
	list := make([]uintptr, a.n+1)
	for i, s := range unsafe.Slice((**byte)(a.ptr), a.n) {
		n := 0
		for *(*byte)(unsafe.Add(unsafe.Pointer(s), n)) != 0 {
			n++
		}
		list[i] = uintptr(w.add(unsafe.Slice(s, n+1)))
	}
	return w.words(list)
}

func (w *imageWriter) filter(a Arg) uint64 {
	prog := (*unix.SockFprog)(a.ptr)
	code := w.add(unsafe.Slice((*byte)(unsafe.Pointer(prog.Filter)), uintptr(prog.Len)*unsafe.Sizeof(*prog.Filter)))
	return w.words([]uintptr{uintptr(prog.Len), uintptr(code)})
}

// elf puts headers (elf(5)) and code before the data.
func (w *imageWriter) elf() []byte {
	le := binary.LittleEndian
	code := interpreterCode()
	b := append(make([]byte, 0, dataOffset+len(w.data)), 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, n := range [...]uint16{2, machine} { // ET_EXEC
		b = le.AppendUint16(b, n)
	}
	b = le.AppendUint32(b, 1)
	for _, n := range [...]uint64{codeBase + headerSize, 64, 0} { // entry, program headers, section headers
		b = le.AppendUint64(b, n)
	}
	b = le.AppendUint32(b, 0)
	for _, n := range [...]uint16{64, 56, 2, 64, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	segment := func(flags uint32, offset, addr, size uint64) {
		b = le.AppendUint32(b, 1) // PT_LOAD
		b = le.AppendUint32(b, flags)
		for _, n := range [...]uint64{offset, addr, addr, size, size, 0x10000} {
			b = le.AppendUint64(b, n)
		}
	}
	segment(5, 0, codeBase, uint64(headerSize+len(code)))
	segment(6, dataOffset, dataBase, uint64(len(w.data)))
	b = append(b, code...)
	b = append(b, make([]byte, dataOffset-len(b))...)
	return append(b, w.data...)
}

// MessageSize is more than any message of a failure has, in bytes.
const MessageSize = 4096

// ParseMessage turns what an image has written about its failure into an *Error.
func ParseMessage(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("the process gave no report")
	}
	return &Error{Label: string(b[4:]), Errno: unix.Errno(binary.NativeEndian.Uint32(b))}
}
