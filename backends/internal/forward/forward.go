// Package forward passes the signals that this process gets on to another one, without Go's own machinery.
//
// Package os/signal costs two switches between threads for every signal it begins or ends to watch: more, for a
// process that lives for milliseconds, than everything it is there for. The handler here is a dozen instructions that
// send the same signal to a process or a process group; installing it is one system call a signal.
package forward

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// targets are what the handler sends each signal to, as kill(2) takes it; 0 is nobody. The handler can reach nothing but
// memory with a fixed address.
var targets [32]int32

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

// Start makes signals go to the process pid, or to its process group where toGroup lists them, until stop is called.
// SIGTSTP stops the group, and this process with it. Signals that are ignored stay so. There is one set of handlers in a
// process: while they are taken, ok is false and nothing changes.
//
// stop is called before the process is waited for, so that its pid cannot be another's meanwhile.
func Start(pid int, toProcess, toGroup []unix.Signal) (stop func(), ok bool) {
	if !taken.CompareAndSwap(false, true) {
		return func() {}, false
	}
	var saved [len(targets)]action
	own := action{handler: handler(), flags: saOnStack | saRestart | saRestorer, restorer: restorer(), mask: ^uint64(0)}
	if own.restorer == 0 {
		own.flags &^= saRestorer
	}
	take := func(sig unix.Signal, target int) {
		sigaction(sig, nil, &saved[sig])
		if saved[sig].handler == ignored {
			return
		}
		atomic.StoreInt32(&targets[sig], int32(target))
		sigaction(sig, &own, nil)
	}
	for _, sig := range toProcess {
		take(sig, pid)
	}
	for _, sig := range toGroup {
		take(sig, -pid)
	}
	return func() {
		for sig := range targets {
			if targets[sig] != 0 {
				sigaction(unix.Signal(sig), &saved[sig], nil)
				atomic.StoreInt32(&targets[sig], 0)
			}
		}
		taken.Store(false)
	}, true
}

// sigaction is rt_sigaction(2), which does not fail for a signal that exists.
func sigaction(sig unix.Signal, new, old *action) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}
