package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// transit is a vault for what arrives of one reference: what is there goes on arriving with the next pull of it, and all
// of it goes when the environment is there.
type transit struct {
	dir  string
	lock *storage.Lock
}

func (w *worker) transit(ctx context.Context, ref string) (*transit, error) {
	dir, lock, err := w.store.Transit(ctx, digest.FromString(ref).Encoded())
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	return &transit{dir, lock}, nil
}

// arrived removes what is in the store by now; gc takes what cannot be removed.
func (t *transit) arrived() { _ = fstree.RemoveAll(t.dir) }

// oldTransit is what interrupted pulls have left.
func (w *worker) oldTransit(context.Context, *roots) ([]garbage, error) {
	entries, err := os.ReadDir(w.store.Path("transit"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []garbage
	for _, e := range entries {
		path := w.store.Path("transit", e.Name())
		all = append(all, garbage{
			wire.Garbage{Kind: "download", ID: e.Name(), Size: storage.Size(path), Reason: "an interrupted pull has left it"},
			func() error { return fstree.RemoveAll(path) },
		})
	}
	return all, nil
}
