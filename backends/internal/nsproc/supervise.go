package nsproc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/tty"
)

// supervise waits for a command to end, which leads a process group of its own. Meanwhile it passes signals on, and ends
// the command when ctx is cancelled. The bridge is to its terminal, nil when it has none.
func supervise(ctx context.Context, pid int, bridge *tty.Bridge) (backends.Exit, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return backends.Exit{}, fmt.Errorf("open process %d: %w", pid, err)
	}
	t := &target{pid: pid, pidfd: pidfd, bridge: bridge}
	stopForwarding := t.forwardSignals()
	if bridge != nil {
		bridge.Resize() // to what the size may have become before its changes were noticed
	}
	stopCancelling := context.AfterFunc(ctx, t.cancel)
	err = waitExited(pid)
	stopCancelling()
	stopForwarding()
	t.reap()
	if err != nil {
		return backends.Exit{}, err
	}
	ws, err := rawproc.Wait(pid)
	if err != nil {
		return backends.Exit{}, fmt.Errorf("wait for process %d: %w", pid, err)
	}
	if ctx.Err() != nil {
		return exitOf(ws), ctx.Err()
	}
	return exitOf(ws), nil
}

func exitOf(ws unix.WaitStatus) backends.Exit {
	if ws.Signaled() {
		return backends.Exit{Signal: ws.Signal()}
	}
	return backends.Exit{Code: ws.ExitStatus()}
}

// waitExited waits until the process is dead and leaves it to be waited for, so that its pid stays its own.
func waitExited(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
}

// target is a process that gets signals until it is reaped.
type target struct {
	mu     sync.Mutex
	pid    int
	pidfd  int // -1 when it is reaped
	bridge *tty.Bridge
}

func (t *target) reap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	unix.Close(t.pidfd)
	t.pidfd = -1
}

// signal sends to the process or its group. That it has died meanwhile is no error.
func (t *target) signal(sig unix.Signal, group bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.pidfd < 0:
	case group && unix.Kill(-t.pid, sig) == nil:
	default:
		unix.PidfdSendSignal(t.pidfd, sig, nil, 0)
	}
}

// cancel sends TERM, and KILL when that has not helped in time.
func (t *target) cancel() {
	t.signal(unix.SIGTERM, false)
	time.Sleep(backends.KillDelay)
	t.signal(unix.SIGKILL, false)
}

// forwardSignals passes on what is sent to this process. What a terminal sends goes to the whole group, since the
// command is not in the terminal's foreground group and gets nothing by itself.
func (t *target) forwardSignals() (stop func()) {
	signals := []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGTSTP, unix.SIGALRM, unix.SIGWINCH,
	}
	if !signal.Ignored(unix.SIGHUP) { // under nohup
		signals = append(signals, unix.SIGHUP)
	}
	ch := make(chan os.Signal, 32)
	signal.Notify(ch, signals...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range ch {
			t.forward(sig.(syscall.Signal))
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-done
	}
}

func (t *target) forward(sig unix.Signal) {
	switch sig {
	case unix.SIGTSTP:
		t.stop()
	case unix.SIGWINCH:
		if t.bridge != nil {
			t.bridge.Resize() // which tells the command
			return
		}
		t.signal(sig, true)
	case unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGCONT:
		t.signal(sig, true)
	default:
		t.signal(sig, false)
	}
}

// stop stops the command and this process, for the user's shell to see, until both are continued. The command's group
// is orphaned, so that it would ignore TSTP.
func (t *target) stop() {
	t.signal(unix.SIGSTOP, true)
	if t.bridge != nil {
		t.bridge.Suspend()
	}
	unix.Kill(unix.Getpid(), unix.SIGSTOP)
	if t.bridge != nil {
		// A terminal that refuses now has gone, which the command will notice.
		_ = t.bridge.Resume()
		t.bridge.Resize()
	}
}
