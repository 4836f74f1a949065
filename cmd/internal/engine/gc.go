package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// Garbage is one thing in the store that nothing needs.
type Garbage = wire.Garbage

// GC removes what no environment needs, and tells what that was; with dryRun it only tells. With quarantine, what a repair
// has put aside goes too.
func (e *Engine) GC(ctx context.Context, dryRun, quarantine bool) ([]Garbage, error) {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return e.collectRemains(dryRun)
	}
	if err != nil {
		return nil, err
	}
	var res wire.GCResult
	err = e.call(ctx, s, wire.Request{GC: &wire.GC{DryRun: dryRun, Quarantine: quarantine}}, &res)
	return res.Removed, err
}

// collectRemains removes what is left of the making of a store that ended before it was one.
func (e *Engine) collectRemains(dryRun bool) ([]Garbage, error) {
	all := []Garbage{}
	left, err := storage.AbandonedVersions(e.StoreRoot)
	for _, f := range left {
		all = append(all, wire.Scratch(filepath.Base(f.Dir), storage.Size(f.Dir)))
		if !dryRun {
			err = errors.Join(err, os.Remove(f.Dir))
		}
		f.Release()
	}
	return all, storeFailure(err)
}
