package builder

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/layers"
)

// oldLayers are images, then package layers, then base layers.
func (w *worker) oldLayers(ctx context.Context, r *roots) ([]garbage, error) {
	store, err := w.layers()
	if err != nil {
		return nil, err
	}
	images, err := store.Images()
	if err != nil {
		return nil, err
	}
	var all []garbage
	for _, d := range images {
		if !r.layers[d] {
			all = append(all, garbage{
				wire.Garbage{Kind: "image", ID: string(d), Reason: "no environment has it"},
				func() error { return store.DeleteImage(ctx, d) },
			})
		}
	}
	ids, err := store.List()
	if err != nil {
		return nil, err
	}
	var bases []garbage
	for _, d := range ids {
		l, ok := store.Lookup(d)
		if r.layers[d] {
			continue
		}
		g := garbage{
			wire.Garbage{Kind: "layer", ID: string(d), Reason: "no environment has it"},
			func() error { return w.removeLayer(ctx, store, d) },
		}
		if !ok {
			g.Reason = "its record or its files are lost"
		} else {
			g.Size = storage.Size(l.Dir)
		}
		if ok && l.Parent == "" {
			bases = append(bases, g)
		} else {
			all = append(all, g)
		}
	}
	return append(all, bases...), nil
}

// keepBelow adds to what is used what that lies on: of several bases that have a package layer it is on one, which no environment may have
// any more.
func (w *worker) keepBelow(used map[digest.Digest]bool) error {
	store, err := w.layers()
	if err != nil {
		return err
	}
	for _, d := range slices.Collect(maps.Keys(used)) {
		for _, below := range store.Below(d) {
			used[below] = true
		}
	}
	return nil
}

// removeLayer makes the build cache forget a layer before it goes.
func (w *worker) removeLayer(ctx context.Context, store *layers.Store, d digest.Digest) error {
	if err := w.store.ForgetLayer(d); err != nil {
		return err
	}
	return store.Delete(ctx, d)
}
