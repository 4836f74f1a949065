package seccomp

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// assembler collects the instructions of a filter.
type assembler struct{ code []unix.SockFilter }

func (a *assembler) emit(code uint16, k uint32, jt, jf uint8) int {
	a.code = append(a.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	return len(a.code) - 1
}

func (a *assembler) load(offset uint32) { a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }

func (a *assembler) ret(action uint32) { a.emit(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

// unless appends a comparison of the accumulator with k that goes on when it holds; else it goes, by a long jump, to where
// the returned function is called.
func (a *assembler) unless(op uint16, k uint32) (here func()) {
	a.emit(unix.BPF_JMP|op|unix.BPF_K, k, 1, 0)
	at := a.emit(unix.BPF_JMP|unix.BPF_JA, 0, 0, 0)
	return func() { a.code[at].K = uint32(len(a.code) - at - 1) }
}

// section appends what is for one architecture; the accumulator holds the call's.
func (a *assembler) section(arch uint32, body func()) {
	end := a.unless(unix.BPF_JEQ, arch)
	body()
	end()
}

// search appends a binary search for the number in the accumulator.
func (a *assembler) search(spans []span) {
	if len(spans) == 1 {
		a.decide(&spans[0])
		return
	}
	mid := len(spans) / 2
	below := a.unless(unix.BPF_JGE, uint32(spans[mid].start))
	a.search(spans[mid:])
	below()
	a.search(spans[:mid])
}

// decide appends the actions that depend on arguments, then the one that does not.
func (a *assembler) decide(s *span) {
	for _, c := range s.conditional {
		var fail []func()
		for i := range c.args {
			fail = append(fail, a.condition(&c.args[i])...)
		}
		a.ret(c.action)
		for _, here := range fail {
			here()
		}
	}
	a.ret(s.rest)
}

// condition appends a comparison of a 64-bit argument, which goes on when it holds; the functions returned say where it
// goes otherwise.
func (a *assembler) condition(arg *rspec.LinuxSeccompArg) (fail []func()) {
	low := offsetArgs + 8*uint32(arg.Index) // the architectures here are little-endian
	high := low + 4
	value, mask := arg.Value, ^uint64(0)
	if arg.Op == rspec.OpMaskedEqual {
		value, mask = arg.Value&arg.ValueTwo, arg.Value
	}
	hi, lo := uint32(value>>32), uint32(value)
	a.load(high)
	switch arg.Op {
	case rspec.OpEqualTo, rspec.OpMaskedEqual:
		a.and(uint32(mask >> 32))
		fail = append(fail, a.unless(unix.BPF_JEQ, hi))
		a.load(low)
		a.and(uint32(mask))
		return append(fail, a.unless(unix.BPF_JEQ, lo))
	case rspec.OpNotEqual:
		// Unequal high words decide; else the low words must not be equal.
		a.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, hi, 0, 3)
		a.load(low)
		return append(fail, a.when(unix.BPF_JEQ, lo))
	}
	// a > b and a >= b hold at once when the high word is greater, and depend on the low word when it is equal; for
	// a <= b and a < b, their opposites, the ends are exchanged.
	op := uint16(unix.BPF_JGT)
	if arg.Op == rspec.OpGreaterEqual || arg.Op == rspec.OpLessThan {
		op = unix.BPF_JGE
	}
	if arg.Op == rspec.OpGreaterThan || arg.Op == rspec.OpGreaterEqual {
		a.emit(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, hi, 5, 0) // over the next five: holds
		fail = append(fail, a.unless(unix.BPF_JEQ, hi))
		a.load(low)
		return append(fail, a.unless(op, lo))
	}
	fail = append(fail, a.when(unix.BPF_JGT, hi))
	a.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, hi, 0, 3) // a smaller high word: holds
	a.load(low)
	return append(fail, a.when(op, lo))
}

func (a *assembler) and(mask uint32) {
	if mask != ^uint32(0) {
		a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0)
	}
}

// when is the opposite of unless.
func (a *assembler) when(op uint16, k uint32) (here func()) {
	a.emit(unix.BPF_JMP|op|unix.BPF_K, k, 0, 1)
	at := a.emit(unix.BPF_JMP|unix.BPF_JA, 0, 0, 0)
	return func() { a.code[at].K = uint32(len(a.code) - at - 1) }
}
