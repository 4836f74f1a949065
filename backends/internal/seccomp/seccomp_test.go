package seccomp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is the kernel's struct seccomp_data.
type call struct {
	number uint32
	arch   uint32
	_      uint64 // instruction pointer
	args   [6]uint64
}

// run executes a filter as the kernel does.
func run(t *testing.T, filter []unix.SockFilter, c call) uint32 {
	t.Helper()
	data, err := binary.Append(nil, binary.LittleEndian, c)
	if err != nil {
		t.Fatal(err)
	}
	var acc uint32
	for pc := 0; pc < len(filter); pc++ {
		f := filter[pc]
		taken := false
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[f.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= f.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = acc == f.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			taken = acc > f.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = acc >= f.K
		default:
			t.Fatalf("instruction %d has code %#x", pc, f.Code)
		}
		if taken {
			pc += int(f.Jt)
		} else {
			pc += int(f.Jf)
		}
	}
	t.Fatal("the filter ends without a decision")
	return 0
}

func holds(arg rspec.LinuxSeccompArg, v uint64) bool {
	switch arg.Op {
	case rspec.OpNotEqual:
		return v != arg.Value
	case rspec.OpLessThan:
		return v < arg.Value
	case rspec.OpLessEqual:
		return v <= arg.Value
	case rspec.OpEqualTo:
		return v == arg.Value
	case rspec.OpGreaterEqual:
		return v >= arg.Value
	case rspec.OpGreaterThan:
		return v > arg.Value
	}
	return v&arg.Value == arg.ValueTwo&arg.Value
}

// Random policies decide as a plain reading of them does.
func TestDecisions(t *testing.T) {
	names := []string{"read", "write", "openat", "close", "clone", "socket", "personality", "getppid", "ioctl", "mmap", "execve", "kill", "prctl", "bpf", "no_such_call"}
	ops := []rspec.LinuxSeccompOperator{rspec.OpNotEqual, rspec.OpLessThan, rspec.OpLessEqual, rspec.OpEqualTo, rspec.OpGreaterEqual, rspec.OpGreaterThan, rspec.OpMaskedEqual}
	values := []uint64{0, 1, 2, 40, 0xffffffff, 0x100000000, 0x100000001, 0x2_0000_0001, 1 << 63, ^uint64(0)}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		s := &rspec.LinuxSeccomp{DefaultAction: []rspec.LinuxSeccompAction{rspec.ActErrno, rspec.ActAllow}[r.IntN(2)]}
		for range r.IntN(12) {
			errno := uint(r.IntN(100) + 2)
			c := rspec.LinuxSyscall{Action: rspec.ActErrno, ErrnoRet: &errno}
			for range r.IntN(4) + 1 {
				c.Names = append(c.Names, names[r.IntN(len(names))])
			}
			for range r.IntN(3) {
				c.Args = append(c.Args, rspec.LinuxSeccompArg{
					Index: uint(r.IntN(6)), Value: values[r.IntN(len(values))], ValueTwo: values[r.IntN(len(values))], Op: ops[r.IntN(len(ops))],
				})
			}
			s.Syscalls = append(s.Syscalls, c)
		}
		filter, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			nr, _ := numbers(name)
			if nr < 0 {
				continue
			}
			for range 20 {
				c := call{number: uint32(nr), arch: auditNative}
				for i := range c.args {
					c.args[i] = values[r.IntN(len(values))]
				}
				if got, want := run(t, filter, c), expected(s, name, c.args); got != want {
					t.Fatalf("round %d: %s%x gives %#x, want %#x\n%+v", round, name, c.args, got, want, s.Syscalls)
				}
			}
		}
	}
}

func expected(s *rspec.LinuxSeccomp, name string, args [6]uint64) uint32 {
	result, _ := actionValue(s.DefaultAction, nil)
	found := false
	for _, c := range s.Syscalls {
		for _, n := range c.Names {
			if n != name {
				continue
			}
			action, _ := actionValue(c.Action, c.ErrnoRet)
			if len(c.Args) == 0 {
				if !found {
					result = action
				}
				continue
			}
			all := true
			for _, a := range c.Args {
				all = all && holds(a, args[a.Index])
			}
			if all && !found {
				result, found = action, true
			}
		}
	}
	return result
}

func TestArchitectures(t *testing.T) {
	s := &rspec.LinuxSeccomp{DefaultAction: rspec.ActAllow, Syscalls: []rspec.LinuxSyscall{{Names: []string{"getppid", "ptrace"}, Action: rspec.ActErrno}}}
	native, compat := numbers("getppid")
	perm := unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	kill := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	for _, c := range []struct {
		arches []rspec.Arch
		call   call
		want   uint32
	}{
		{nil, call{number: uint32(native), arch: auditNative}, perm},
		{nil, call{number: uint32(compat), arch: auditCompat}, kill},
		{[]rspec.Arch{compatArch}, call{number: uint32(compat), arch: auditCompat}, perm},
		{[]rspec.Arch{compatArch}, call{number: uint32(compat) + 1, arch: auditCompat}, unix.SECCOMP_RET_ALLOW},
		{[]rspec.Arch{compatArch}, call{number: uint32(native), arch: 1}, kill},
		{nil, call{number: ^uint32(0) >> 2, arch: auditNative}, unix.SECCOMP_RET_ALLOW},
	} {
		s.Architectures = c.arches
		filter, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, filter, c.call); got != c.want {
			t.Errorf("%v: %+v gives %#x, want %#x", c.arches, c.call, got, c.want)
		}
	}
	if runtime.GOARCH == "amd64" {
		filter, _ := Compile(s)
		if got := run(t, filter, call{number: 0x40000000 | 1, arch: auditNative}); got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
			t.Errorf("x32 gives %#x", got)
		}
	}
}

func TestRefused(t *testing.T) {
	big := uint(5000)
	arg := func(a rspec.LinuxSeccompArg) []rspec.LinuxSyscall {
		return []rspec.LinuxSyscall{{Names: []string{"read"}, Action: rspec.ActAllow, Args: []rspec.LinuxSeccompArg{a}}}
	}
	var many []rspec.LinuxSyscall
	for i := range 600 {
		many = append(many, arg(rspec.LinuxSeccompArg{Op: rspec.OpEqualTo, Value: uint64(i)})...)
	}
	for want, s := range map[string]*rspec.LinuxSeccomp{
		"listener":           {DefaultAction: rspec.ActAllow, ListenerPath: "/x"},
		"SCMP_ACT_NOTIFY":    {DefaultAction: rspec.ActNotify},
		`action ""`:          {},
		"errno 5000":         {DefaultAction: rspec.ActErrno, DefaultErrnoRet: &big},
		"argument 6":         {DefaultAction: rspec.ActAllow, Syscalls: arg(rspec.LinuxSeccompArg{Index: 6, Op: rspec.OpEqualTo})},
		`operator "x"`:       {DefaultAction: rspec.ActAllow, Syscalls: arg(rspec.LinuxSeccompArg{Op: "x"})},
		"instructions and t": {DefaultAction: rspec.ActErrno, Syscalls: many},
	} {
		if _, err := Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if f, err := Compile(nil); f != nil || err != nil {
		t.Errorf("nothing gives %v, %v", f, err)
	}
}

// The table is checked against numbers that are known by heart.
func TestNumbers(t *testing.T) {
	for name, want := range map[string]string{
		"amd64": "0 3,59 11,435 435,-1 102,-1 -1", "arm64": "63 3,221 11,435 435,-1 -1,-1 -1",
	} {
		if name != runtime.GOARCH {
			continue
		}
		var got []string
		for _, call := range []string{"read", "execve", "clone3", "socketcall", "no_such_call"} {
			n, c := numbers(call)
			got = append(got, fmt.Sprint(n, c))
		}
		if s := strings.Join(got, ","); s != want {
			t.Errorf("numbers %s, want %s", s, want)
		}
	}
}

// Every number must fit the table, whose last entry no call may have.
func TestTableSize(t *testing.T) {
	text, err := os.ReadFile("numbers_" + runtime.GOARCH + ".go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`return (-?\d+), (-?\d+)`).FindAllStringSubmatch(string(text), -1) {
		for _, s := range m[1:] {
			if n, err := strconv.Atoi(s); err != nil || n >= tableSize-1 {
				t.Errorf("number %s, %v", s, err)
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	s := &rspec.LinuxSeccomp{DefaultAction: rspec.ActErrno, Architectures: []rspec.Arch{compatArch}}
	c := rspec.LinuxSyscall{Action: rspec.ActAllow}
	for _, name := range []string{"read", "write", "openat", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect"} {
		for range 30 {
			c.Names = append(c.Names, name)
		}
	}
	s.Syscalls = append(s.Syscalls, c)
	for b.Loop() {
		if _, err := Compile(s); err != nil {
			b.Fatal(err)
		}
	}
}
