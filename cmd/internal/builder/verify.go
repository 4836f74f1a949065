package builder

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
)

// verify reads an environment's layers and, if asked to, builds them again aside and compares.
func (w *worker) verify(ctx context.Context, req *wire.Verify) (*wire.VerifyResult, error) {
	r, err := w.store.Record(req.EnvID)
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	res := &wire.VerifyResult{Differences: []wire.Difference{}}
	was, err := w.readLayers(ctx, r, res)
	if err == nil {
		err = w.readSnapshots(ctx, r.EnvID, res)
	}
	if err != nil || req.Rebuild == nil {
		return res, err
	}
	return res, w.rebuildAside(ctx, req, was, res)
}

// readLayers computes the digests of what an environment is made of.
func (w *worker) readLayers(ctx context.Context, r *storage.Record, res *wire.VerifyResult) (was [2]layer, err error) {
	store, err := w.layers()
	if err != nil {
		return was, err
	}
	for i, l := range [2]wire.VerifiedLayer{{What: "base layer", Digest: r.BaseLayer}, {What: "package layer", Digest: r.PackageLayer}} {
		if l.Digest == "" {
			continue
		}
		w.tell.Step("read " + l.What)
		if there, ok := store.Lookup(l.Digest); ok {
			if l.Found, _, err = fstree.Digest(ctx, there.Dir); err != nil {
				return was, failure.New(failure.Store, err, "")
			}
			was[i] = layer{ID: l.Found, Dir: there.Dir, Size: there.Size}
		}
		res.Layers = append(res.Layers, l)
	}
	image := wire.VerifiedLayer{What: "image", Digest: r.ImageDigest, Found: r.ImageDigest}
	if _, err := store.FindImage(r.ImageDigest); errors.Is(err, layers.ErrNoImage) {
		image.Found = ""
	} else if err != nil {
		return was, failure.New(failure.Store, err, "")
	}
	res.Layers = append(res.Layers, image)
	return was, nil
}

// rebuildAside builds the lock again, from the vault, and compares with the layers that are there.
func (w *worker) rebuildAside(ctx context.Context, req *wire.Verify, was [2]layer, res *wire.VerifyResult) error {
	first, err := w.newBuild(req.Rebuild)
	if err != nil {
		return err
	}
	a, err := w.newAside()
	if err != nil {
		return err
	}
	defer a.end(w)
	b := first.again(a)
	var out manifest.Output
	if req.Odd {
		out, res.Varied, err = b.otherwise(ctx, 3*(was[0].Size+was[1].Size)+b.size())
	} else {
		out, err = b.make(ctx)
	}
	if err != nil {
		return err
	}
	rebuilt := map[string]digest.Digest{"base layer": out.BaseLayer, "package layer": out.PackageLayer, "image": out.ImageDigest}
	for i := range res.Layers {
		res.Layers[i].Rebuilt = rebuilt[res.Layers[i].What]
	}
	found, err := b.differences(ctx, was, [2]layer{b.base, b.packages})
	res.Differences = append(res.Differences, found...)
	return err
}
