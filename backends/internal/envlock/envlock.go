// Package envlock decides, by kernel locks alone, whether a container is started or joined, and when it ends.
//
// # Files
//
// A container's state directory has two files. `lock` is held exclusively (flock) by the container's first process
// from before there is one until it has died; while the container is ready for sessions, the same process also holds
// a record lock (fcntl) on it, which tells everybody its pid. `sessions` is held shared by every session's
// supervisor; the first process waits for it exclusively, and ends when it gets it.
//
// # Protocol
//
//	start   lock EX, sessions EX; make the first process, which keeps lock; when it is ready, sessions SH
//	join    lock is held by another: sessions SH, which waits for a start; ask lock whose record lock it has, unless nobody else
//	        has sessions: that container is ending
//	end     sessions closed; the first process gets it exclusively and exits, its locks with it
//	retry   whatever was true a moment ago and is not now: the container ended meanwhile, or its start failed
//
// What `lock` contains is only a note: which backend started the container, and which process a successor has to wait
// for, because the kernel gives a dying process's locks back before its mounts.
package envlock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/smallfile"
)

const (
	lockName     = "lock"
	sessionsName = "sessions"
)

// patience is how long a container may take to start or to end under others who wait for it.
const patience = time.Minute

var errStuck = errors.New("it neither runs nor ends: a process of it that does not react holds its lock")

// errElsewhere is about containers whose state directory is seen in more than one pid namespace.
var errElsewhere = errors.New("it runs in a pid namespace that is not visible from here")

// ErrNotRunning says that there is no container to act on.
var ErrNotRunning = errors.New("not running")

// noteSize is the size of what the lock file contains, in bytes; the rest of it is blank.
const noteSize = 1024

// note is what the lock file contains.
type note struct {
	Backend string `json:"backend"`
	Pid     int    `json:"pid"`
	Start   uint64 `json:"start"` // of the process, in the kernel's ticks since boot
	// Groups are the directories of the control groups that every process of the container enters.
	Groups []string `json:"groups,omitempty"`
	// Profile is the name of what of the host it was made with.
	Profile string `json:"profile,omitempty"`
}

// Session is a place in a container: as its starter, or beside others.
type Session struct {
	Starting bool
	Pid      int      // of the container's first process, when it was joined or found
	Pidfd    int      // the same
	Backend  string   // that started it
	Profile  string   // of the host's things; of a Starting one the caller's to set before Started
	Groups   []string // directories of its control groups

	dir      string
	until    time.Time // the place is waited for
	lock     int       // held exclusively while Starting, otherwise only open
	sessions int       // held exclusively while Starting, otherwise shared
}

// Waiting is told, once, that a place has to be waited for: of a file whose lock (flock) is held by another session, which
// is starting the container, or of -1, while the container of before is ending.
type Waiting func(fd int)

// tellAfter is how long a wait has to last before it is told of.
const tellAfter = 300 * time.Millisecond

// Acquire takes a place in the container of the state directory, which must exist. A nil waiting is told nothing.
func Acquire(ctx context.Context, dir string, waiting Waiting) (*Session, error) {
	begun := time.Now()
	tell := func(fd int) {
		if waiting != nil {
			waiting(fd)
			waiting = nil
		}
	}
	for delay := time.Millisecond; ; delay = min(2*delay, 20*time.Millisecond) {
		s := &Session{dir: dir, lock: -1, sessions: -1, Pidfd: -1, until: begun.Add(patience)}
		done, err := s.try(ctx, tell)
		if err == nil && done {
			return s, nil
		}
		s.Close()
		if err != nil {
			return nil, err
		}
		if time.Since(begun) > tellAfter {
			tell(-1)
		}
		if time.Since(begun) > patience {
			return nil, errStuck
		}
		if err := sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
}

// patient gives a wait its end. Whoever does not wait goes without the timer, whose thread costs more than taking a place.
func (s *Session) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, s.until, errStuck)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// try makes one attempt; false means that what it saw has changed under it.
func (s *Session) try(ctx context.Context, tell Waiting) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	var err error
	if s.lock, err = openFile(s.dir, lockName, unix.O_RDONLY|unix.O_CREAT); err != nil {
		return false, err
	}
	switch err := flock(s.lock, unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		s.Starting = true
		if s.lock, err = rawproc.High(s.lock); err != nil {
			return false, err
		}
		return s.prepareStart(ctx)
	case unix.EWOULDBLOCK:
		return s.join(ctx, tell)
	default:
		return false, fmt.Errorf("lock %s/%s: %w", s.dir, lockName, err)
	}
}

func (s *Session) prepareStart(ctx context.Context) (bool, error) {
	if !isFile(s.lock, s.dir, lockName) {
		return false, nil // deleted and maybe made anew since it was opened
	}
	if pidfd := ending(readNote(s.lock)); pidfd >= 0 {
		ctx, cancel := s.patient(ctx)
		err := WaitExit(ctx, pidfd)
		cancel()
		unix.Close(pidfd)
		if err != nil {
			return false, err
		}
	}
	var err error
	if s.sessions, err = openFile(s.dir, sessionsName, unix.O_RDONLY|unix.O_CREAT); err != nil {
		return false, err
	}
	if flock(s.sessions, unix.LOCK_EX|unix.LOCK_NB) == nil && isFile(s.sessions, s.dir, sessionsName) {
		return true, nil
	}
	// A session of the container before this one has not noticed its end, or is stopped. It keeps the old file.
	unix.Close(s.sessions)
	if err := unix.Unlink(filepath.Join(s.dir, sessionsName)); err != nil && err != unix.ENOENT {
		return false, fmt.Errorf("remove %s/%s: %w", s.dir, sessionsName, err)
	}
	s.sessions, err = openFile(s.dir, sessionsName, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return false, err
	}
	return flock(s.sessions, unix.LOCK_EX|unix.LOCK_NB) == nil, nil
}

func (s *Session) join(ctx context.Context, tell Waiting) (bool, error) {
	var err error
	s.sessions, err = openFile(s.dir, sessionsName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch err := flock(s.sessions, unix.LOCK_SH|unix.LOCK_NB); err {
	case nil:
		if s.alone() {
			return false, nil
		}
	case unix.EWOULDBLOCK:
		if err := s.share(ctx, tell); err != nil {
			return false, err
		}
	default:
		return false, fmt.Errorf("lock %s/%s: %w", s.dir, sessionsName, err)
	}
	pid, pidfd, err := holder(s.lock)
	if err != nil || pid == 0 {
		return false, err
	}
	s.Pid, s.Pidfd = pid, pidfd
	n := readNote(s.lock)
	s.Backend, s.Groups, s.Profile = n.Backend, n.Groups, n.Profile
	return isFile(s.sessions, s.dir, sessionsName), nil
}

// alone says whether the last session has ended, only that the first process has not noticed yet: the container is as that session, or one
// before it, wanted it, and has no future. The attempt at the exclusive lock gives the shared one up, which may be the last.
func (s *Session) alone() bool {
	return flock(s.sessions, unix.LOCK_EX|unix.LOCK_NB) == nil || flock(s.sessions, unix.LOCK_SH|unix.LOCK_NB) != nil
}

// share waits for the lock of the sessions. What waits for it is a thread that outlives a cancelled wait.
func (s *Session) share(ctx context.Context, tell Waiting) error {
	fd := s.sessions
	ctx, cancel := s.patient(ctx)
	defer cancel()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("copy descriptor: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		err := flock(dup, unix.LOCK_SH)
		unix.Close(dup)
		done <- err
	}()
	late := time.NewTimer(tellAfter)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-done:
			return err
		case <-late.C:
			tell(fd)
		}
	}
}

// holder opens the process that holds the record lock; pid 0 when there is none. The lock is asked again after the
// process has been opened, so that the pid cannot have become another's in between.
func holder(lock int) (pid, pidfd int, err error) {
	if pid, err = recordHolder(lock); err != nil || pid == 0 {
		return 0, -1, err
	}
	if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return 0, -1, nil // it died
	}
	again, err := recordHolder(lock)
	if err != nil || again != pid {
		unix.Close(pidfd)
		return 0, -1, err
	}
	return pid, pidfd, nil
}

func recordHolder(lock int) (int, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: 0, Len: 1}
	if err := unix.FcntlFlock(uintptr(lock), unix.F_GETLK, &l); err != nil {
		return 0, fmt.Errorf("ask for the lock's holder: %w", err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, nil
	}
	if l.Pid <= 0 {
		return 0, errElsewhere
	}
	return int(l.Pid), nil
}

// Inherit gives the descriptors that the container's first process needs: the lock, at rawproc.FirstHigh or above, which
// it keeps until it dies, and an opening of its own of the sessions file, which it waits for. The caller closes the
// second one when the process has its copy.
func (s *Session) Inherit() (lock, sessions int, err error) {
	sessions, err = openFile(s.dir, sessionsName, unix.O_RDONLY)
	return s.lock, sessions, err
}

// Started notes the process that has the container's mounts, once there is one: its first process or an ancestor of it.
func (s *Session) Started(backend string, pid int) error {
	s.Backend = backend
	text, err := json.Marshal(note{Backend: backend, Pid: pid, Start: startTime(pid), Groups: s.Groups, Profile: s.Profile})
	if err != nil {
		return fmt.Errorf("note the container's process: %w", err)
	}
	fd, err := openFile(s.dir, lockName, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// In place: a file that is truncated and written again is flushed by some file systems when it is closed.
	if len(text) > noteSize {
		return fmt.Errorf("write %s/%s: the paths of the control groups are too long", s.dir, lockName)
	}
	padded := bytes.Repeat([]byte{' '}, noteSize)
	copy(padded, text)
	if _, err := unix.Pwrite(fd, padded, 0); err != nil {
		return fmt.Errorf("write %s/%s: %w", s.dir, lockName, err)
	}
	return nil
}

// HoldMyself makes this very process the container's first one, which ends with the session. It lets others join.
func (s *Session) HoldMyself(backend string) error {
	if err := s.Started(backend, 0); err != nil {
		return err
	}
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET, Start: 0, Len: 1}
	if err := unix.FcntlFlock(uintptr(s.lock), unix.F_SETLK, &l); err != nil {
		return fmt.Errorf("hold the lock: %w", err)
	}
	s.Pid = os.Getpid()
	if err := flock(s.sessions, unix.LOCK_SH); err != nil {
		return fmt.Errorf("share %s/%s: %w", s.dir, sessionsName, err)
	}
	return nil
}

// Find looks for the first process, which holds the record lock by now.
func (s *Session) Find() error {
	if s.Pidfd >= 0 {
		return nil
	}
	var err error
	if s.Pid, s.Pidfd, err = holder(s.lock); err == nil && s.Pid == 0 {
		err = errors.New("the container's first process has died")
	}
	return err
}

// Ready lets others join. The first process must not wait for the sessions file before.
func (s *Session) Ready() error {
	if err := s.Find(); err != nil {
		return err
	}
	if err := flock(s.sessions, unix.LOCK_SH); err != nil {
		return fmt.Errorf("share %s/%s: %w", s.dir, sessionsName, err)
	}
	unix.Close(s.lock)
	s.lock = -1
	s.Starting = false
	return nil
}

// Close gives the place up. If it was the last one, the container ends.
func (s *Session) Close() {
	for _, fd := range []*int{&s.lock, &s.sessions, &s.Pidfd} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func openFile(dir, name string, flags int) (int, error) {
	fd, err := unix.Open(filepath.Join(dir, name), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open %s/%s: %w", dir, name, err)
	}
	return fd, nil
}

func flock(fd, how int) error {
	for {
		err := unix.Flock(fd, how)
		if err != unix.EINTR {
			return err
		}
	}
}

// InPlace says whether the session's lock is still the one of its directory, which may have been replaced since.
func (s *Session) InPlace() bool { return isFile(s.lock, s.dir, lockName) }

// Ended says whether err, of joining the container, came of its end.
func (s *Session) Ended(ctx context.Context, err error) bool {
	return isEnding(ctx, s.dir, s.Pid, s.Pidfd, err)
}

// isFile says whether the descriptor is what the name is now.
func isFile(fd int, dir, name string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Stat(filepath.Join(dir, name), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// readNote gives what the lock file says, nothing when that is damaged.
func readNote(fd int) note {
	buf := make([]byte, noteSize)
	n, err := unix.Pread(fd, buf, 0)
	var v note
	if err != nil || json.Unmarshal(buf[:n], &v) != nil {
		return note{}
	}
	return v
}

// waitGone waits until the process of a note, whose locks are free already, has given back its mounts too.
func waitGone(ctx context.Context, n note) error {
	pidfd := ending(n)
	if pidfd < 0 {
		return nil
	}
	defer unix.Close(pidfd)
	return WaitExit(ctx, pidfd)
}

// ending opens the process of a note, whose locks are free already; -1 says that it is gone.
func ending(n note) (pidfd int) {
	if n.Pid <= 0 {
		return -1
	}
	pidfd, err := unix.PidfdOpen(n.Pid, 0)
	if err != nil {
		return -1
	}
	if n.Start == 0 || startTime(n.Pid) != n.Start { // another process has its pid
		unix.Close(pidfd)
		return -1
	}
	return pidfd
}

// WaitExit waits until the process is dead, which for the first one of a pid namespace means that all others in it are
// dead and reaped too.
func WaitExit(ctx context.Context, pidfd int) error {
	timeout := 0
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, timeout)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for process: %w", err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		timeout = 10 // milliseconds, between looks at ctx
	}
}

// startTime is the start time of a process, 0 when it cannot be known (proc(5), stat field 22).
func startTime(pid int) uint64 {
	data, err := smallfile.Read("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field, in parentheses, is the process's own choice and may contain anything.
	rest := string(data)
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Dead says whether a process has ended.
func Dead(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
