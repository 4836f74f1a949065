package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lock keeps collecting garbage and committing apart: who commits holds it shared, who removes holds it alone. It is a
// pair of kernel locks on files and dies with its holder. Who comes waits at the gate first, so that a busy server cannot
// keep out for ever who wants the lock alone. Programs on other machines do not see it.
type Lock struct{ path, gate string }

// NewLock makes the files if they are not there.
func NewLock(path string) (Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Lock{}, err
	}
	l := Lock{path, path + ".gate"}
	for _, name := range []string{l.path, l.gate} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return Lock{}, err
		}
		if err := f.Close(); err != nil {
			return Lock{}, err
		}
	}
	return l, nil
}

// Shared waits for the lock. Closing gives it back.
func (l Lock) Shared(ctx context.Context) (io.Closer, error) { return l.take(ctx, unix.LOCK_SH) }

// Alone waits for the lock. Closing gives it back.
func (l Lock) Alone(ctx context.Context) (io.Closer, error) { return l.take(ctx, unix.LOCK_EX) }

// Try takes the lock alone or says that somebody has it.
func (l Lock) Try() (io.Closer, error) {
	f, err := flock(l.path, unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is locked by another process", l.path)
	}
	return f, err
}

func (l Lock) take(ctx context.Context, how int) (io.Closer, error) {
	gate, err := await(ctx, l.gate, how)
	if err != nil {
		return nil, err
	}
	held, err := await(ctx, l.path, how)
	return held, errors.Join(err, gate.Close())
}

// await tries until it has the lock, since a wait in the kernel could not be given up.
func await(ctx context.Context, path string, how int) (io.Closer, error) {
	for {
		f, err := flock(path, how)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func flock(path string, how int) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// busy keeps requests on one upload apart: two that write at once could mix their bytes under one digest.
type busy struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (b *busy) take(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids[id] {
		return false
	}
	b.ids[id] = true
	return true
}

func (b *busy) leave(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ids, id)
}
