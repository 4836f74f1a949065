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

// AloneIn makes the caller alone in an environment: no session can start in it and nobody else changes what it is made of, until the lock is given
// back. waiting is called once if it has to wait. Sessions that are in it are for the caller to find, afterwards.
func (s *Store) AloneIn(ctx context.Context, id manifest.EnvID, waiting func()) (*Lock, error) {
	return s.lockEnv(ctx, id, syscall.LOCK_EX, waiting)
}

// SettledIn waits until nobody is alone in an environment, and keeps it so.
func (s *Store) SettledIn(ctx context.Context, id manifest.EnvID, waiting func()) (*Lock, error) {
	return s.lockEnv(ctx, id, syscall.LOCK_SH, waiting)
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
	return waitLock(ctx, s.EnvDir(id, "bundle")+"/.", syscall.LOCK_SH, nil)
}

// InUse tells whether somebody Uses an environment. The caller is alone in it.
func (s *Store) InUse(id manifest.EnvID) bool {
	l, err := tryLock(s.EnvDir(id, "bundle")+"/.", syscall.LOCK_EX)
	l.Unlock()
	return l == nil && err == nil
}

// lockEnv locks an environment's directory, which may be replaced while it waits. Behind the slash, a directory that is
// missing is not made a file.
func (s *Store) lockEnv(ctx context.Context, id manifest.EnvID, how int, waiting func()) (*Lock, error) {
	for {
		l, err := waitLock(ctx, s.EnvDir(id)+"/.", how, waiting)
		if errors.Is(err, os.ErrNotExist) {
			return nil, &NotFoundError{Ref: string(id)}
		}
		if err != nil {
			return nil, err
		}
		is, err1 := l.f.Stat()
		want, err2 := os.Stat(s.EnvDir(id))
		if err1 == nil && err2 == nil && os.SameFile(is, want) {
			return l, nil
		}
		l.Unlock()
	}
}

// Share keeps layers and files of the vault from being collected while something is made of them. Many may hold it.
func (s *Store) Share(ctx context.Context, waiting func()) (*Lock, error) {
	return waitLock(ctx, s.Path("gc.lock"), syscall.LOCK_SH, waiting)
}

// Alone waits for the end of all that Share, and keeps them out.
func (s *Store) Alone(ctx context.Context, waiting func()) (*Lock, error) {
	return waitLock(ctx, s.Path("gc.lock"), syscall.LOCK_EX, waiting)
}

// TryLock takes the exclusive lock on the file or directory at path. It returns nil and no error when another process
// holds it. A missing file is created, readable by all: locking needs no more, and the user and the root of the user's
// namespace lock the same files. A missing directory is an error.
func TryLock(path string) (*Lock, error) { return tryLock(path, syscall.LOCK_EX) }

func tryLock(path string, how int) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if errors.Is(err, syscall.EISDIR) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
	case err == nil:
		return &Lock{f}, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		f.Close()
		return nil, nil
	default:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}

// WaitLock takes the lock, waiting for its holder; waiting is called once if it has to wait.
func WaitLock(ctx context.Context, path string, waiting func()) (*Lock, error) {
	return waitLock(ctx, path, syscall.LOCK_EX, waiting)
}

func waitLock(ctx context.Context, path string, how int, waiting func()) (*Lock, error) {
	for delay := time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		l, err := tryLock(path, how)
		if l != nil || err != nil {
			return l, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-time.After(delay):
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
		l, err := TryLock(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if l != nil { // else a sweep took it between the two calls
			return &Scratch{Dir: dir, lock: l}, nil
		}
	}
}

// Release gives the directory up; what is left in it is garbage.
func (s *Scratch) Release() { s.lock.Unlock() }

// Abandoned returns the scratch directories whose makers are gone, each locked; the caller removes and releases them.
func (s *Store) Abandoned() ([]*Scratch, error) {
	entries, err := os.ReadDir(s.Path("tmp"))
	if err != nil {
		return nil, fmt.Errorf("list scratch directories: %w", err)
	}
	var left []*Scratch
	for _, e := range entries {
		dir := s.Path("tmp", e.Name())
		if l, err := TryLock(dir); err == nil && l != nil {
			left = append(left, &Scratch{Dir: dir, lock: l})
		}
	}
	return left, nil
}
