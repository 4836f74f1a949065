package rawproc

import (
	"fmt"
	"strings"
	"unsafe"
)

// String prints the program, an op a line: what it does and its arguments. Memory that is no string is printed as its
// size, and no system call by its number, so that the text is the same on every architecture and in every run.
func (p *Program) String() string {
	var b strings.Builder
	for _, op := range p.ops {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String prints one op.
func (o *Op) String() string {
	switch o.kind {
	case opClone, opReload:
		return o.label
	case opFail:
		return o.label + ": fail"
	}
	args := make([]string, o.nargs)
	for i := range args {
		args[i] = o.args[i].String()
	}
	text := fmt.Sprintf("%s (%s)", o.label, strings.Join(args, ", "))
	if o.dst != 0 {
		text += fmt.Sprintf(" -> r%d", o.dst)
	}
	switch o.flow {
	case flowOK:
		text += fmt.Sprintf(", skip %d", o.skip)
	case flowErr:
		text += fmt.Sprintf(", else skip %d", o.skip)
	}
	return text
}

// String prints an argument.
func (a Arg) String() string {
	switch a.kind {
	case argReg:
		return fmt.Sprintf("r%d", a.n)
	case argRegAddr:
		return fmt.Sprintf("&r%d", a.n)
	case argString:
		return fmt.Sprintf("%q", unsafe.String((*byte)(a.ptr), int(a.n)))
	case argBytes, argFilter:
		return fmt.Sprintf("[%d bytes]", a.n)
	case argStrings:
		return fmt.Sprintf("[%d strings]", a.n)
	}
	return fmt.Sprintf("%#x", a.n)
}
