package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
	"github.com/karapace/karapace/storage/ociimage"
)

// storedImage is the image of an environment, as it was built. The caller keeps others from removing layers.
func (w *worker) storedImage(r *storage.Record) (*ociimage.Image, error) {
	store, err := w.layers()
	if err != nil {
		return nil, err
	}
	img, err := store.FindImage(r.ImageDigest)
	if err != nil {
		return nil, lost(r, err)
	}
	out := &ociimage.Image{Digest: img.Digest, Manifest: img.Manifest, Config: img.Config}
	for _, id := range []digest.Digest{r.BaseLayer, r.PackageLayer} {
		if id == "" {
			continue
		}
		l, ok := store.Lookup(id)
		if !ok {
			return nil, lost(r, fmt.Errorf("layer %s is not in the store", id))
		}
		out.Layers = append(out.Layers, treeLayer(r, l.DiffID, l.Size, l.Dir, lost))
	}
	return out, nil
}

// lost is what is missing or damaged of what was built.
func lost(r *storage.Record, err error) error {
	return failure.New(failure.Store, fmt.Errorf("environment %s: %w", r.Title(), err), "karapace rebuild, in the directory of its manifest, makes it anew")
}

// lostSnapshot is the same of what nothing can build anew.
func lostSnapshot(r *storage.Record, err error) error {
	return failure.New(failure.Store, fmt.Errorf("a snapshot of environment %s: %w", r.Title(), err), "karapace verify "+r.Title()+" tells which are damaged")
}

// treeLayer is a normalised tree that is named by its digest; lost says what it means when it is no longer that.
func treeLayer(r *storage.Record, id digest.Digest, size int64, dir string, lost func(*storage.Record, error) error) ociimage.Layer {
	return ociimage.Layer{DiffID: id, Size: size, Write: func(ctx context.Context, w io.Writer) error {
		out := &listening{w: w}
		got, _, err := fstree.WriteTar(ctx, out, dir)
		switch {
		case err == nil && got != id:
			return lost(r, &layers.DamageError{DiffID: id, Got: got})
		case err != nil && out.err == nil && ctx.Err() == nil:
			return lost(r, err)
		}
		return err
	}}
}

// listening is a writer that remembers its error: other errors are then of what was read.
type listening struct {
	w   io.Writer
	err error
}

func (l *listening) Write(p []byte) (n int, err error) {
	n, err = l.w.Write(p)
	if err != nil {
		l.err = err
	}
	return n, err
}

// snapshotLayers are the layers of a snapshot and of all that it lies on, bottom first.
func (w *worker) snapshotLayers(r *storage.Record, id digest.Digest) (all []ociimage.Layer) {
	for _, s := range slices.Backward(r.ChainOf(id)) {
		all = append(all, treeLayer(r, s.Layer, s.Size, w.store.EnvDir(r.EnvID, s.Dir), lostSnapshot))
	}
	return all
}

// stacked puts layers on top of an image. Without any it is the image.
func stacked(img *ociimage.Image, more []ociimage.Layer) (*ociimage.Image, error) {
	if len(more) == 0 {
		return img, nil
	}
	var config ispec.Image
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, failure.New(failure.Store, fmt.Errorf("image %s: its configuration: %w", img.Digest, err), "")
	}
	out := &ociimage.Image{Layers: append(append([]ociimage.Layer{}, img.Layers...), more...)}
	var stack []layers.Layer
	for _, l := range out.Layers {
		stack = append(stack, layers.Layer{DiffID: l.DiffID, Size: l.Size})
	}
	made, err := layers.EncodeImage(config, nil, stack)
	if err != nil {
		return nil, err
	}
	out.Digest, out.Manifest, out.Config = made.Digest, made.Manifest, made.Config
	return out, nil
}

// drift is what the writable layer of an environment changes, as a layer: nil when that is nothing. The caller is alone
// in the environment until the layer has been written. The writable layer is normalised in place, as for a commit, which
// nothing inside would notice. Its directories get the newest time of what is left in it, or of the image, so that the
// bytes depend on no clock.
func (w *worker) drift(ctx context.Context, r *storage.Record, img *ociimage.Image) (*ociimage.Layer, error) {
	dir := w.store.UpperDir(r)
	if empty, err := storage.IsEmptyDir(dir); err != nil || empty {
		return nil, failure.New(failure.Store, err, "")
	}
	w.tell.Step("look at what has changed")
	opts := fstree.NormaliseOptions{Epoch: timeless, Lowers: w.store.Lowers(r)}
	if err := fstree.Normalise(ctx, dir, opts); err != nil {
		return nil, cannotExport(r, err)
	}
	if empty, err := storage.IsEmptyDir(dir); err != nil || empty {
		return nil, failure.New(failure.Store, err, "")
	}
	newest, err := fstree.Newest(ctx, dir)
	if err != nil {
		return nil, cannotExport(r, err)
	}
	opts.Epoch = max(newest, img.Created())
	if err := fstree.Normalise(ctx, dir, opts); err != nil {
		return nil, cannotExport(r, err)
	}
	id, size, err := fstree.Digest(ctx, dir)
	if err != nil {
		return nil, cannotExport(r, err)
	}
	l := treeLayer(r, id, size, dir, lostSnapshot)
	return &l, nil
}

// timeless is later than any time a layer can hold: it clamps none.
const timeless = 1<<33 - 1

// cannotExport says what to do about a file that no layer can hold.
func cannotExport(r *storage.Record, err error) error {
	var entry *fstree.EntryError
	if errors.As(err, &entry) {
		return failure.New(failure.General, fmt.Errorf("the drift of environment %s cannot be exported: %w", r.Title(), entry),
			"remove it or give it another name: karapace enter --root "+r.Title())
	}
	return failure.New(failure.Store, err, "")
}
