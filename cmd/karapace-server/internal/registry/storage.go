package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"golang.org/x/sys/unix"
)

var (
	errBlobTooLarge = errors.New("the blob is larger than this registry takes")
	errQuota        = errors.New("the registry is full: its limit is reached")
	errDiskFull     = errors.New("the registry is full: its disk is")
)

// trouble is what storage said while one request was served: the library answers most of it with 500 and no reason. It
// knows the request's writers too, since the library forgets to close them when it cannot keep the state of a hash.
type trouble struct {
	mu      sync.Mutex
	err     error
	writers []*guardedWriter
}

// end closes what the library left open.
func (t *trouble) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.writers {
		if !w.done {
			_ = w.FileWriter.Close() // the upload has failed already
		}
	}
	t.writers = nil
}

type troubleKey struct{}

func (t *trouble) get() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// note keeps the first reason that a client should be told.
func note(ctx context.Context, err error) error {
	t, ok := ctx.Value(troubleKey{}).(*trouble)
	if !ok || err == nil {
		return err
	}
	reason, cause := err, err
	var wrapped driver.Error
	if errors.As(err, &wrapped) { // which hides its cause from errors.Is
		cause = wrapped.Detail
	}
	switch {
	case errors.Is(cause, unix.ENOSPC), errors.Is(cause, unix.EDQUOT):
		reason = errDiskFull
	case errors.Is(err, errBlobTooLarge), errors.Is(err, errQuota), errors.Is(err, errDiskFull):
	default:
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = reason
	}
	return err
}

// guarded is a storage driver that keeps to the limits and makes renames durable.
type guarded struct {
	driver.StorageDriver
	root  string // of the file storage, or empty
	blob  int64
	total int64
	free  int64
	used  atomic.Int64
}

// room refuses what would go over a limit.
func (g *guarded) room(n int) error {
	if g.total > 0 && g.used.Load()+int64(n) > g.total {
		return errQuota
	}
	if g.root == "" || g.free == 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(g.root, &fs); err != nil {
		return err
	}
	if int64(fs.Bavail)*fs.Bsize < g.free+int64(n) {
		return errDiskFull
	}
	return nil
}

// PutContent implements driver.StorageDriver.
func (g *guarded) PutContent(ctx context.Context, path string, content []byte) error {
	if err := g.room(len(content)); err != nil {
		return note(ctx, err)
	}
	if err := g.StorageDriver.PutContent(ctx, path, content); err != nil {
		return note(ctx, err)
	}
	g.used.Add(int64(len(content)))
	return nil
}

// Writer implements driver.StorageDriver.
func (g *guarded) Writer(ctx context.Context, path string, add bool) (driver.FileWriter, error) {
	w, err := g.StorageDriver.Writer(ctx, path, add)
	if err != nil {
		return nil, note(ctx, err)
	}
	gw := &guardedWriter{FileWriter: w, g: g, ctx: ctx, blob: strings.Contains(path, "/_uploads/")}
	if t, ok := ctx.Value(troubleKey{}).(*trouble); ok {
		t.mu.Lock()
		t.writers = append(t.writers, gw)
		t.mu.Unlock()
	}
	return gw, nil
}

// Move implements driver.StorageDriver. In files, the names are durable when it returns.
func (g *guarded) Move(ctx context.Context, from, to string) error {
	if err := g.StorageDriver.Move(ctx, from, to); err != nil {
		return note(ctx, err)
	}
	if g.root == "" {
		return nil
	}
	dir := filepath.Join(g.root, filepath.Dir(to))
	for range newLevels {
		if err := syncDirectory(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

// newLevels is how deep below what is always there a move may make directories: blobs/sha256/AB/ABCD.../data.
const newLevels = 3

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Recount measures what is stored. Between two counts, only what is added counts.
func (g *guarded) Recount(ctx context.Context) error {
	before := g.used.Load()
	var sum int64
	err := g.Walk(ctx, "/", func(fi driver.FileInfo) error {
		if !fi.IsDir() {
			sum += fi.Size()
		}
		return nil
	})
	if err != nil && !isMissing(err) {
		return err
	}
	g.used.Add(sum - before)
	return nil
}

func isMissing(err error) bool {
	var missing driver.PathNotFoundError
	return errors.As(err, &missing)
}

// Ready asks storage for a sign of life.
func (g *guarded) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := g.Stat(ctx, "/")
	if g.root == "" && isMissing(err) {
		return nil // an empty bucket
	}
	return err
}

// guardedWriter holds one upload to the limits.
type guardedWriter struct {
	driver.FileWriter
	g    *guarded
	ctx  context.Context // of the request that asked for the writer; the interface has none
	blob bool
	done bool
}

func (w *guardedWriter) Write(p []byte) (int, error) {
	if w.blob && w.g.blob > 0 && w.Size()+int64(len(p)) > w.g.blob {
		return 0, note(w.ctx, errBlobTooLarge)
	}
	if err := w.g.room(len(p)); err != nil {
		return 0, note(w.ctx, err)
	}
	n, err := w.FileWriter.Write(p)
	w.g.used.Add(int64(n))
	return n, note(w.ctx, err)
}

func (w *guardedWriter) Commit(ctx context.Context) error {
	return note(w.ctx, w.FileWriter.Commit(ctx))
}

func (w *guardedWriter) Close() error {
	w.done = true
	return note(w.ctx, w.FileWriter.Close())
}

func (w *guardedWriter) Cancel(ctx context.Context) error {
	w.done = true
	return w.FileWriter.Cancel(ctx)
}
