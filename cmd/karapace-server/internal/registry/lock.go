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
// kernel lock on a file and dies with its holder. Programs on other machines do not see it.
type Lock struct{ path string }

// NewLock makes the file if it is not there.
func NewLock(path string) (Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Lock{}, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return Lock{}, err
	}
	return Lock{path}, f.Close()
}

// Shared waits for the lock. Closing gives it back.
func (l Lock) Shared(ctx context.Context) (io.Closer, error) { return l.take(ctx, unix.LOCK_SH) }

// Alone waits for the lock. Closing gives it back.
func (l Lock) Alone(ctx context.Context) (io.Closer, error) { return l.take(ctx, unix.LOCK_EX) }

// Try takes the lock alone or says that somebody has it.
func (l Lock) Try() (io.Closer, error) {
	f, err := l.once(unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is locked by another process", l.path)
	}
	return f, err
}

func (l Lock) take(ctx context.Context, how int) (io.Closer, error) {
	for {
		f, err := l.once(how)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", l.path, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l Lock) once(how int) (io.Closer, error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
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
