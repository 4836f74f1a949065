// Package seccomp compiles the seccomp section of a runtime spec to the kernel's filter language (seccomp(2)).
//
// A filter knows the native ABI and the compat ABI of the architecture, i386 or arm, when the spec lists it. A process
// that uses an ABI that is not listed is killed, except that every x32 call gives ENOSYS, as on nearly all kernels. For
// each ABI the actions of all numbers form ranges, which a binary search finds: a call costs a handful of comparisons
// however long the list of names is.
//
// Rules with conditions on arguments are tried in the spec's order before the rule without any; names that no ABI here
// has are left out, as every runtime does.
package seccomp

//go:generate go run gen.go

import (
	"errors"
	"fmt"
	"slices"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in the kernel's struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// Compile returns the filter of a spec, nil for nil.
func Compile(s *rspec.LinuxSeccomp) ([]unix.SockFilter, error) {
	if s == nil {
		return nil, nil
	}
	if s.ListenerPath != "" || s.ListenerMetadata != "" {
		return nil, errors.New("a seccomp listener is not supported")
	}
	p, err := parse(s)
	if err != nil {
		return nil, err
	}
	var a assembler
	a.load(offsetArch)
	a.section(auditNative, func() { p.native.abi(&a, true) })
	if slices.Contains(s.Architectures, compatArch) {
		a.section(auditCompat, func() { p.compat.abi(&a, false) })
	}
	a.ret(unix.SECCOMP_RET_KILL_PROCESS)
	if len(a.code) > maxInstructions {
		return nil, fmt.Errorf("the seccomp filter has %d instructions and the kernel takes %d", len(a.code), maxInstructions)
	}
	return a.code, nil
}

// Flags are the flags of seccomp(2) that the spec asks for.
func Flags(s *rspec.LinuxSeccomp) (uintptr, error) {
	var flags uintptr
	if s == nil {
		return 0, nil
	}
	for _, f := range s.Flags {
		switch f {
		case rspec.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case rspec.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is one thread
		default:
			return 0, fmt.Errorf("the seccomp flag %s is not supported", f)
		}
	}
	return flags, nil
}

// conditional is an action that depends on arguments.
type conditional struct {
	args   []rspec.LinuxSeccompArg
	action uint32
}

// tableSize is more than the numbers of any ABI.
const tableSize = 1024

// table says what happens to each number of an ABI: conditional actions in order, then the action for the rest.
type table struct {
	rest        [tableSize]uint32
	conditional map[int][]conditional
}

func (t *table) fill(action uint32) {
	for i := range t.rest {
		t.rest[i] = action
	}
}

func (t *table) add(number int, args []rspec.LinuxSeccompArg, action uint32) {
	switch {
	case number < 0:
	case len(args) == 0:
		t.rest[number] = action
	default:
		if t.conditional == nil {
			t.conditional = make(map[int][]conditional)
		}
		t.conditional[number] = append(t.conditional[number], conditional{args, action})
	}
}

type policy struct{ native, compat table }

func parse(s *rspec.LinuxSeccomp) (*policy, error) {
	fallback, err := actionValue(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	p := new(policy)
	p.native.fill(fallback)
	p.compat.fill(fallback)
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		action, err := actionValue(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, err
		}
		if err := checkArgs(call.Args); err != nil {
			return nil, err
		}
		for _, name := range call.Names {
			native, compat := numbers(name)
			p.native.add(native, call.Args, action)
			p.compat.add(compat, call.Args, action)
		}
	}
	return p, nil
}

func actionValue(a rspec.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno)
	}
	if data > 4095 {
		return 0, fmt.Errorf("the seccomp errno %d is too large", data)
	}
	switch a {
	case rspec.ActKill, rspec.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case rspec.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case rspec.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case rspec.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case rspec.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case rspec.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case rspec.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, fmt.Errorf("the seccomp action %q is not supported", a)
}

func checkArgs(args []rspec.LinuxSeccompArg) error {
	for _, arg := range args {
		if arg.Index > 5 {
			return fmt.Errorf("a system call has no argument %d", arg.Index)
		}
		switch arg.Op {
		case rspec.OpNotEqual, rspec.OpLessThan, rspec.OpLessEqual, rspec.OpEqualTo, rspec.OpGreaterEqual, rspec.OpGreaterThan, rspec.OpMaskedEqual:
		default:
			return fmt.Errorf("the seccomp operator %q is not supported", arg.Op)
		}
	}
	return nil
}

// span is a run of numbers with the same fate, up to the next span's start.
type span struct {
	start       int
	rest        uint32
	conditional []conditional
}

// abi appends the decision for one ABI, which never falls through.
func (t *table) abi(a *assembler, native bool) {
	a.load(offsetNumber)
	spans := t.spans()
	if native && x32Bit != 0 {
		spans = append(spans, span{start: x32Bit, rest: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	a.search(spans)
}

// spans are the table in as few runs as possible. Numbers beyond it fare as the last one in it, which no call has.
func (t *table) spans() []span {
	var spans []span
	for number, rest := range t.rest {
		c := t.conditional[number]
		if n := len(spans); n > 0 && c == nil && spans[n-1].conditional == nil && spans[n-1].rest == rest {
			continue
		}
		spans = append(spans, span{number, rest, c})
	}
	return spans
}
