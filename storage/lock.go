package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/karapace/karapace/manifest"
)

// Lock is an advisory lock of the kernel (flock(2)). It ends with the process that holds it.
type Lock struct {
	f *os.File
}

// Unlock gives the lock back.
func (l *Lock) Unlock() {
	if l != nil {
		l.f.Close()
	}
}

// InPlace tells whether what is locked is still what its path names. An environment that was removed and built again has
// another directory, with the same record if both happen within a second.
func (l *Lock) InPlace() bool { return isAt(l.f, l.f.Name()) }

// Waiting is told, once for each, of the processes that hold a lock somebody has been waiting for a while.
type Waiting func(Holder)

// AloneIn makes the caller alone in an environment: no session can start in it and nobody else changes what it is made of, until the lock is given
// back. Sessions that are in it are for the caller to find, afterwards.
func (s *Store) AloneIn(ctx context.Context, id manifest.EnvID) (*Lock, error) {
	return s.lockEnv(ctx, id, syscall.LOCK_EX)
}

// SettledIn waits until nobody is alone in an environment, and keeps it so.
func (s *Store) SettledIn(ctx context.Context, id manifest.EnvID) (*Lock, error) {
	return s.lockEnv(ctx, id, syscall.LOCK_SH)
}

// TrySettledIn is SettledIn without waiting: nil and no error while somebody is alone there.
func (s *Store) TrySettledIn(id manifest.EnvID) (*Lock, error) {
	return tryLock(s.EnvDir(id)+"/.", syscall.LOCK_SH)
}

// TryAloneIn is AloneIn without waiting: nil and no error while somebody else is alone there, or looks at it.
func (s *Store) TryAloneIn(id manifest.EnvID) (*Lock, error) {
	return tryLock(s.EnvDir(id)+"/.", syscall.LOCK_EX)
}

// Use keeps the layers of an environment where they are while something else than its own sessions is mounted on them.
func (s *Store) Use(ctx context.Context, id manifest.EnvID) (*Lock, error) {
	return s.wait(ctx, s.EnvDir(id, "bundle")+"/.", syscall.LOCK_SH)
}

// InUse tells whether somebody Uses an environment. The caller is alone in it.
func (s *Store) InUse(id manifest.EnvID) bool {
	l, err := tryLock(s.EnvDir(id, "bundle")+"/.", syscall.LOCK_EX)
	l.Unlock()
	return l == nil && err == nil
}

// lockEnv locks an environment's directory. Behind the slash, a directory that is missing is not made a file.
func (s *Store) lockEnv(ctx context.Context, id manifest.EnvID, how int) (*Lock, error) {
	l, err := s.wait(ctx, s.EnvDir(id)+"/.", how)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &NotFoundError{Ref: string(id)}
	}
	return l, err
}

// Transit makes and locks the directory in which something arrives. Whoever holds the lock may remove the directory.
func (s *Store) Transit(ctx context.Context, name string) (dir string, l *Lock, err error) {
	dir = s.Path("transit", name)
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", nil, fmt.Errorf("make directory for what arrives: %w", err)
		}
		l, err = s.Lock(ctx, dir+"/.")
		if !errors.Is(err, os.ErrNotExist) {
			return dir, l, err
		}
	}
}

// Share keeps layers and files of the vault from being collected while something is made of them. Many may hold it.
func (s *Store) Share(ctx context.Context) (*Lock, error) {
	return s.wait(ctx, s.Path("envs")+"/.", syscall.LOCK_SH)
}

// Alone waits for the end of all that Share, and keeps them out.
func (s *Store) Alone(ctx context.Context) (*Lock, error) {
	return s.wait(ctx, s.Path("envs")+"/.", syscall.LOCK_EX)
}

// Lock takes the exclusive lock on a file or directory of the store, as WaitLock does.
func (s *Store) Lock(ctx context.Context, path string) (*Lock, error) {
	return s.wait(ctx, path, syscall.LOCK_EX)
}

func (s *Store) wait(ctx context.Context, path string, how int) (*Lock, error) {
	return waitLock(ctx, path, how, s.Waiting)
}

// TryLock takes the exclusive lock on the file or directory at path. It returns nil and no error when another process
// holds it. A missing file is created, readable by all: locking needs no more, and the user and the root of the user's
// namespace lock the same files. A missing directory is an error if the path ends in "/.".
func TryLock(path string) (*Lock, error) { return tryLock(path, syscall.LOCK_EX) }

// tryLock begins anew when the path has become another file, or none, meanwhile: who has locked what nobody finds any more
// keeps nobody out.
func tryLock(path string, how int) (*Lock, error) {
	for {
		f, err := openLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		switch err := flock(f, how|syscall.LOCK_NB); {
		case err == nil && isAt(f, path):
			return &Lock{f}, nil
		case err == nil:
			f.Close()
		case errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, nil
		default:
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if errors.Is(err, syscall.EISDIR) {
		return os.Open(path)
	}
	return f, err
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// isAt tells whether an open file is what the path names now.
func isAt(f *os.File, path string) bool {
	is, err1 := f.Stat()
	want, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(is, want)
}

// WaitLock takes the lock, waiting for its holder. A nil waiting is told nothing.
func WaitLock(ctx context.Context, path string, waiting Waiting) (*Lock, error) {
	return waitLock(ctx, path, syscall.LOCK_EX, waiting)
}

func waitLock(ctx context.Context, path string, how int, waiting Waiting) (*Lock, error) {
	watch := watcher{waiting: waiting}
	for delay := time.Millisecond; ; delay = min(2*delay, longestDelay) {
		l, err := tryLock(path, how)
		if l != nil || err != nil {
			return l, err
		}
		watch.look(func() (*os.File, error) { return os.Open(path) })
		if err := pause(ctx, delay); err != nil {
			return nil, fmt.Errorf("wait for the lock %s: %w", path, err)
		}
	}
}

// WaitFile takes the exclusive lock on an open file, waiting for its holder. Closing the file gives it back.
func WaitFile(ctx context.Context, f *os.File, waiting Waiting) error {
	watch := watcher{waiting: waiting}
	for delay := time.Millisecond; ; delay = min(2*delay, longestDelay) {
		if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		watch.look(func() (*os.File, error) { return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) })
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
}

// longestDelay is how late a lock that is given back is noticed at worst.
const longestDelay = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Patience is how long somebody waits for a lock before it is worth telling.
const Patience = 300 * time.Millisecond

// watcher tells of the holders of a lock, each once.
type watcher struct {
	waiting Waiting
	next    time.Time // when to look again
	told    map[string]bool
}

func (w *watcher) look(open func() (*os.File, error)) {
	now := time.Now()
	switch {
	case w.waiting == nil:
		return
	case w.told == nil:
		w.next, w.told = now.Add(Patience), map[string]bool{}
	}
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(2 * Patience)
	f, err := open()
	if err != nil {
		return
	}
	defer f.Close()
	found := Holders(f)
	if len(found) == 0 && len(w.told) == 0 {
		found = []Holder{{}}
	}
	for _, h := range found {
		if key := fmt.Sprint(h.Pid, h.start, h.Stopped); !w.told[key] {
			w.told[key] = true
			w.waiting(h)
		}
	}
}

// Scratch is a directory below STORE/tmp whose maker holds a lock on it; without one it is garbage.
type Scratch struct {
	Dir  string
	lock *Lock
}

// Scratch makes an empty scratch directory.
func (s *Store) Scratch(kind string) (*Scratch, error) {
	for {
		dir, err := os.MkdirTemp(s.Path("tmp"), kind+"-")
		if err != nil {
			return nil, fmt.Errorf("make scratch directory: %w", err)
		}
		syscall.Removexattr(dir, "system.posix_acl_default") // what the host's directory hands down is no part of what is made here
		l, err := TryLock(dir + "/.")                        // which is never made a file
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if l != nil && isAt(l.f, dir) { // else a sweep took it between the calls
			return &Scratch{Dir: dir, lock: l}, nil
		}
		l.Unlock()
	}
}

// Release gives the directory up; what is left in it is garbage.
func (s *Scratch) Release() { s.lock.Unlock() }

// Abandoned returns the scratch directories whose makers are gone, each locked; the caller removes and releases them.
func (s *Store) Abandoned() ([]*Scratch, error) {
	return abandonedIn(s.Path("tmp"), "", func(os.DirEntry) bool { return true })
}
