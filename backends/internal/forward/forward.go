// Package forward passes the signals that this process gets on to another one, without Go's own machinery.
//
// Package os/signal costs two switches between threads for every signal it begins or ends to watch: more, for a
// process that lives for milliseconds, than everything it is there for. The handler here is a dozen instructions that
// send the same signal to a process or a process group; installing it is one system call a signal.
package forward

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// targets are what the handler sends each signal to, as kill(2) takes it; 0 is nobody. The handler can reach nothing but
// memory with a fixed address.
var targets [32]int32

// pending are the signals that came while they had no target. The handler sets a byte, Aim looks at it.
var pending [len(targets)]byte

// taken is set while somebody has the signals.
var taken atomic.Bool

// action is the kernel's struct sigaction.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	ignored    = 1 // SIG_IGN
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
	saRestorer = 0x04000000
)

func handler() uintptr

// Signals are the signals of this process that somebody has taken.
type Signals struct {
	toProcess, toGroup []unix.Signal
	saved              [len(targets)]action
}

// Take begins to keep signals until Aim tells where they go: to a process, or to its process group where toGroup lists
// them. It is called before that process can do anything, so that none is lost. SIGTSTP stops the group, and this
// process with it. Signals that are ignored stay so. There is one set of handlers in a process: while they are taken,
// Take returns nil and nothing changes; a nil *Signals does nothing.
func Take(toProcess, toGroup []unix.Signal) *Signals {
	if !taken.CompareAndSwap(false, true) {
		return nil
	}
	pending = [len(targets)]byte{}
	s := &Signals{toProcess: toProcess, toGroup: toGroup}
	own := action{handler: handler(), flags: saOnStack | saRestart | saRestorer, restorer: restorer(), mask: ^uint64(0)}
	if own.restorer == 0 {
		own.flags &^= saRestorer
	}
	for _, sig := range slices.Concat(toProcess, toGroup) {
		sigaction(sig, nil, &s.saved[sig])
		if s.saved[sig].handler != ignored {
			sigaction(sig, &own, nil)
		}
	}
	return s
}

// Aim makes the signals go to pid, those that have come already first.
func (s *Signals) Aim(pid int) {
	if s == nil {
		return
	}
	s.aim(s.toProcess, pid)
	s.aim(s.toGroup, -pid)
}

func (s *Signals) aim(sigs []unix.Signal, target int) {
	for _, sig := range sigs {
		if s.saved[sig].handler == ignored {
			continue
		}
		atomic.StoreInt32(&targets[sig], int32(target))
		if pending[sig] != 0 {
			pending[sig] = 0
			unix.Kill(target, sig)
		}
	}
}

// Stop gives the signals back. It is called before the process is waited for, so that its pid cannot be another's
// meanwhile. What came and had no target is this process's own then.
func (s *Signals) Stop() {
	if s == nil {
		return
	}
	for _, sig := range slices.Concat(s.toProcess, s.toGroup) {
		if s.saved[sig].handler == ignored {
			continue
		}
		sigaction(sig, &s.saved[sig], nil)
		atomic.StoreInt32(&targets[sig], 0)
		if pending[sig] != 0 {
			pending[sig] = 0
			unix.Kill(unix.Getpid(), sig)
		}
	}
	taken.Store(false)
}

// sigaction is rt_sigaction(2), which does not fail for a signal that exists.
func sigaction(sig unix.Signal, new, old *action) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}
