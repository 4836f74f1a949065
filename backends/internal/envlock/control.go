package envlock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Status is what the kernel knows about a container.
type Status struct {
	Running bool
	Pid     int // 0 when it is not ready yet or not visible in this pid namespace
	Backend string
}

// Query asks whether the container of a state directory runs. It changes nothing.
func Query(dir string) (Status, error) {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, err
	}
	defer unix.Close(lock)
	pid, err := recordHolder(lock)
	if err != nil && err != errElsewhere {
		return Status{}, err
	}
	if pid == 0 && err == nil {
		switch err := flock(lock, unix.LOCK_SH|unix.LOCK_NB); err {
		case nil:
			return Status{}, nil
		case unix.EWOULDBLOCK:
		default:
			return Status{}, fmt.Errorf("ask for the lock %s/%s: %w", dir, lockName, err)
		}
	}
	return Status{Running: true, Pid: pid, Backend: readNote(lock).Backend}, nil
}

// Groups are the first process of a running container and the directories of its control groups; pid is 0 when it does not run or is not
// visible in this pid namespace.
func Groups(dir string) (pid int, groups []string) {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if err != nil {
		return 0, nil
	}
	defer unix.Close(lock)
	if pid, err = recordHolder(lock); err != nil || pid == 0 {
		return 0, nil
	}
	return pid, readNote(lock).Groups
}

// open returns the first process of a running container and its note; ErrNotRunning when there is none.
func open(dir string) (pid, pidfd int, n note, err error) {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return 0, -1, note{}, ErrNotRunning
	}
	if err != nil {
		return 0, -1, note{}, err
	}
	defer unix.Close(lock)
	if pid, pidfd, err = holder(lock); err == nil && pid == 0 {
		err = ErrNotRunning
	}
	return pid, pidfd, readNote(lock), err
}

// Signal sends sig to every process of the container but its first one, or ends the container when sig is KILL.
func Signal(dir string, sig unix.Signal) error {
	pid, pidfd, _, err := open(dir)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	err = signalAll(pidfd, sig)
	if err != nil && isEnding(context.Background(), dir, pid, pidfd, err) {
		return ErrNotRunning
	}
	return err
}

func signalAll(pidfd int, sig unix.Signal) error {
	if sig == unix.SIGKILL {
		if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
			return fmt.Errorf("kill the container: %w", err)
		}
		return nil
	}
	inside, err := hasPidNamespace(pidfd)
	if err != nil {
		return err
	}
	if !inside { // then "every process" would be every process of the host
		if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal the container: %w", err)
		}
		return nil
	}
	return signalInside(pidfd, sig)
}

// signalInside sends sig to every process of another pid namespace than this one. The first process of that may end meanwhile: whoever
// has not come in must not signal anything, since all processes would be those of the host.
func signalInside(pidfd int, sig unix.Signal) error {
	p := inPidNamespace(pidfd)
	p.Call("signal all processes", unix.SYS_KILL, rawproc.Int(-1), rawproc.Int(uint(sig))).Allow(unix.ESRCH)
	if sig == unix.SIGTERM { // which a stopped process would not notice
		p.Call("continue all processes", unix.SYS_KILL, rawproc.Int(-1), rawproc.Int(uint(unix.SIGCONT))).Allow(unix.ESRCH)
	}
	_, err := runToEnd(p)
	return err
}

// hasPidNamespace says whether the process has another pid namespace than this one, as all first processes have but the
// mock backend's: a child that is put there has another pid to itself than to us.
func hasPidNamespace(pidfd int) (bool, error) {
	p := inPidNamespace(pidfd, unix.EPERM) // to join the own one is not permitted to everybody
	own := p.Reg()
	p.Call("get own pid", unix.SYS_GETPID).Into(own)
	pid, err := runToEnd(p)
	return pid != int(p.Value(own)), err
}

// inPidNamespace begins a program that goes on as a new process in the pid namespace of another, or in its own when joining that fails
// with one of the errors given.
func inPidNamespace(pidfd int, allowed ...unix.Errno) *rawproc.Program {
	p := new(rawproc.Program)
	p.Call("join user namespace", unix.SYS_SETNS, rawproc.Int(pidfd), rawproc.Int(unix.CLONE_NEWUSER)).Allow(unix.EINVAL)
	p.Call("join pid namespace", unix.SYS_SETNS, rawproc.Int(pidfd), rawproc.Int(unix.CLONE_NEWPID)).Allow(allowed...)
	p.Clone("start process in pid namespace", 0)
	return p
}

func runToEnd(p *rawproc.Program) (pid int, err error) {
	if pid, err = p.Run(0); err != nil {
		return 0, err
	}
	if _, err := rawproc.Wait(pid); err != nil {
		return 0, fmt.Errorf("wait for process %d: %w", pid, err)
	}
	return pid, nil
}

// Stop sends TERM to everything in the container, KILL after the grace time, and returns when nothing is left of it.
func Stop(ctx context.Context, dir string, grace time.Duration) error {
	pid, pidfd, n, err := open(dir)
	if errors.Is(err, ErrNotRunning) {
		return stopStarting(ctx, dir, grace)
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if grace > 0 {
		err := signalAll(pidfd, unix.SIGTERM)
		if err != nil && !isEnding(ctx, dir, pid, pidfd, err) {
			return err
		}
		patience, cancel := context.WithTimeout(ctx, grace)
		err = WaitExit(patience, pidfd)
		cancel()
		if ctx.Err() != nil {
			return err
		}
	}
	if err := signalAll(pidfd, unix.SIGKILL); err != nil {
		return err
	}
	if err := WaitExit(ctx, pidfd); err != nil {
		return err
	}
	return waitGone(ctx, n)
}

// stopStarting gives a container that is starting the grace time to be there, and then ends what is to become its first process: a runtime may
// wait for ever, for what an environment has put in its way, and then nobody else would end it.
func stopStarting(ctx context.Context, dir string, grace time.Duration) error {
	for end := time.Now().Add(grace); ; {
		n, starting, err := startingNote(dir)
		if err != nil || !starting {
			return errors.Join(err, ErrNotRunning)
		}
		if s, err := Query(dir); err == nil && s.Pid != 0 {
			return Stop(ctx, dir, max(0, time.Until(end)))
		}
		if pidfd := ending(n); pidfd >= 0 && time.Now().After(end) {
			defer unix.Close(pidfd)
			if err := signalAll(pidfd, unix.SIGKILL); err != nil {
				return err
			}
			return WaitExit(ctx, pidfd)
		} else if pidfd >= 0 {
			unix.Close(pidfd)
		}
		if time.Since(end) > patience {
			return errStuck
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// startingNote is the note of a container whose lock somebody holds.
func startingNote(dir string) (note, bool, error) {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return note{}, false, nil
	}
	if err != nil {
		return note{}, false, err
	}
	defer unix.Close(lock)
	if flock(lock, unix.LOCK_SH|unix.LOCK_NB) == nil {
		return note{}, false, nil
	}
	return readNote(lock), true, nil
}

// isEnding says whether err, of joining the namespaces of the first process, came of its end. Its pid namespace is gone
// then (ESRCH, ENOMEM), or before that its memory, without which the kernel takes it for untraceable (EPERM). In between
// it gives its locks back; what then remains of its end, such as unmounting, can take long.
func isEnding(ctx context.Context, dir string, pid, pidfd int, err error) bool {
	if !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EPERM) {
		return false
	}
	for range 1000 {
		s, err := Query(dir)
		if Dead(pidfd) || err == nil && s.Pid != pid {
			return true
		}
		if sleep(ctx, time.Millisecond) != nil {
			return false
		}
	}
	return false
}

// Delete removes the lock files of a container that does not run, after waiting for one that has no session any more.
// It reports false when there is a session.
func Delete(ctx context.Context, dir string) (bool, error) {
	for {
		done, busy, err := tryDelete(ctx, dir)
		if done || busy || err != nil {
			return done, err
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return false, err
		}
	}
}

func tryDelete(ctx context.Context, dir string) (done, busy bool, err error) {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return true, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer unix.Close(lock)
	if flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		busy, err := hasSessions(dir)
		return false, busy, err
	}
	if err := waitGone(ctx, readNote(lock)); err != nil {
		return false, false, err
	}
	cgroup.Remove(readNote(lock).Groups) // of a container whose last supervisor was killed
	for _, name := range []string{sessionsName, lockName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, false, fmt.Errorf("remove lock: %w", err)
		}
	}
	return true, false, nil
}

// RemoveGroups removes the control groups of a container whose last session has ended. It reports true when there is nothing more to
// do: they are gone, or there are sessions again. Whoever starts the container anew has the lock, and keeps them.
func RemoveGroups(dir string, groups []string) bool {
	lock, err := openFile(dir, lockName, unix.O_RDONLY)
	if err != nil { // Delete has removed them with it
		return true
	}
	defer unix.Close(lock)
	if flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		others, err := hasSessions(dir)
		return others || err != nil
	}
	return !isFile(lock, dir, lockName) || cgroup.Remove(groups)
}

// hasSessions says whether a supervisor holds the sessions file; the first process, which holds it alone while it
// ends, does not count.
func hasSessions(dir string) (bool, error) {
	fd, err := openFile(dir, sessionsName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	shared := func() bool { return flock(fd, unix.LOCK_SH|unix.LOCK_NB) == nil }
	if !shared() || flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		return false, nil
	}
	// What has it may be the first process still, to which the attempt gave way.
	return shared(), nil
}
