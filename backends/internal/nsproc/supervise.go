package nsproc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/forward"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/tty"
)

// supervise waits for a command to end, which leads a process group of its own. Meanwhile it passes signals on, and ends
// the command when ctx is cancelled. The terminal is the user's, nil when the command has none of its own.
func supervise(ctx context.Context, pid int, user *terminal, signals *forward.Signals) (backends.Exit, error) {
	t := &target{pid: pid}
	stopSignals := t.forwardSignals(user, signals)
	stopCancelling := context.AfterFunc(ctx, t.cancel)
	err := waitExited(pid)
	stopCancelling()
	stopSignals()
	t.end()
	if err != nil {
		return backends.Exit{}, err
	}
	ws, err := rawproc.Wait(pid)
	if err != nil {
		return backends.Exit{}, fmt.Errorf("wait for process %d: %w", pid, err)
	}
	return exitOf(ws), ctx.Err()
}

// RunChild starts a child without a terminal, which leads a session of its own, and waits for it to end.
func RunChild(ctx context.Context, start func() (pid int, err error)) (backends.Exit, error) {
	signals := takeSignals(false)
	pid, err := start()
	if err != nil {
		signals.Stop()
		return backends.Exit{}, err
	}
	return supervise(ctx, pid, nil, signals)
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

// target is a process that may be signalled until it has ended.
type target struct {
	pid   int
	mu    sync.Mutex
	ended bool
}

func (t *target) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

func (t *target) signal(pid int, sig unix.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		_ = unix.Kill(pid, sig) // it may be dead and not noticed yet
	}
}

// cancel sends TERM, and KILL when that has not helped in time.
func (t *target) cancel() {
	t.signal(t.pid, unix.SIGTERM)
	time.Sleep(backends.KillDelay)
	t.signal(t.pid, unix.SIGKILL)
}

// takeSignals takes what is passed on from what is sent to this process. What a terminal sends goes to the whole group,
// since the command is not in the terminal's foreground group and gets nothing by itself. The group is orphaned, so that
// it would ignore TSTP. With a terminal of the command's own, the user's terminal is followed by other means.
func takeSignals(terminal bool) *forward.Signals {
	toProcess := []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}
	toGroup := []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP}
	if !terminal {
		toGroup = append(toGroup, unix.SIGCONT, unix.SIGTSTP, unix.SIGWINCH)
	}
	return forward.Take(toProcess, toGroup)
}

func (t *target) forwardSignals(user *terminal, signals *forward.Signals) (stop func()) {
	signals.Aim(t.pid)
	if user == nil {
		return signals.Stop
	}
	stopTerminal := t.followTerminal(user)
	return func() {
		stopTerminal()
		signals.Stop()
	}
}

// terminal is the user's, and what this process is told about it.
type terminal struct {
	*tty.Bridge
	told chan os.Signal
}

// newTerminal takes the user's terminal for the master of a command's. Signals about it are noticed from before it is raw: a stop that
// came in between would leave it so, or be lost.
func newTerminal(io backends.Stdio, master int) (*terminal, error) {
	told := make(chan os.Signal, 8)
	signal.Notify(told, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	bridge, err := tty.New(io.In, io.Out, master, tty.Marks{Enter: io.Enter, Leave: io.Leave})
	if err != nil {
		signal.Stop(told)
		return nil, err
	}
	return &terminal{bridge, told}, nil
}

// followTerminal does what is to be done here about the user's terminal.
func (t *target) followTerminal(user *terminal) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range user.told {
			switch sig {
			case unix.SIGWINCH:
				user.Resize() // which tells the command
			case unix.SIGCONT:
				t.signal(-t.pid, unix.SIGCONT)
			case unix.SIGTSTP:
				t.stop(user.Bridge)
			}
		}
	}()
	return func() {
		signal.Stop(user.told)
		close(user.told)
		<-done
	}
}

// stop stops the command and this process, for the user's shell to see, until both are continued.
func (t *target) stop(bridge *tty.Bridge) {
	t.signal(-t.pid, unix.SIGSTOP)
	bridge.Suspend()
	stopSelf()
	// A terminal that refuses now has gone, which the command will notice.
	_ = bridge.Resume()
	bridge.Resize()
}

// stopSelf stops this process until it is continued. The signal is this thread's own: one for the process may reach another
// thread, and this one goes on for a moment, long enough to take the terminal back.
func stopSelf() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP) // nobody is kept from stopping himself
}
