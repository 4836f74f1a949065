package builder

import (
	"context"

	"github.com/karapace/karapace/cmd/internal/wire"
)

// oldNames are names that no environment has: a build that was killed before its environment was there has left one, and an environment that
// went into the quarantine.
func (w *worker) oldNames(ctx context.Context, _ *roots) (all []garbage, err error) {
	err = w.store.ChangeNames(ctx, func() error {
		names, err := w.store.UnusedNames()
		for _, name := range names {
			all = append(all, garbage{
				wire.Garbage{Kind: "name", ID: name, Reason: "no environment has it"},
				func() error { return w.store.DropUnusedName(ctx, name) },
			})
		}
		return err
	})
	return all, err
}
