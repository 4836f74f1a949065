package builder

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/ociimage"
)

// An environment leaves the store through one descriptor, which karapace has opened with the user's own rights. What
// becomes of what was written when something fails is karapace's business too.

// exported is what is to leave.
type exported struct {
	*wire.Export
	record      *storage.Record
	image       *ociimage.Image // with all layers that are wanted
	dirs        []string        // their trees, top first
	compression ociimage.Compression
}

func (w *worker) export(ctx context.Context, req *wire.Export) (*wire.ExportResult, error) {
	c, err := ociimage.ParseCompression(req.Compression)
	if err != nil {
		return nil, failure.New(failure.Usage, err, "")
	}
	r, lock, err := w.settle(ctx, req)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	e := &exported{Export: req, record: r, compression: c}
	if req.Format == wire.FormatDiff {
		return w.exportDiff(ctx, e)
	}
	if err := w.gather(ctx, e); err != nil {
		return nil, err
	}
	switch req.Format {
	case wire.FormatOCI:
		return w.exportLayout(ctx, e)
	case wire.FormatDocker:
		return w.exportDocker(ctx, e)
	case wire.FormatRootFS, wire.FormatBundle:
		return w.exportRoot(ctx, e)
	}
	return nil, failure.New(failure.Usage, fmt.Errorf("format %q is unknown", req.Format), "")
}

// settle keeps what is exported as it is. For the drift that takes being alone in the environment; layers and snapshots
// need only stay.
func (w *worker) settle(ctx context.Context, req *wire.Export) (*storage.Record, *storage.Lock, error) {
	if req.Drift || req.Format == wire.FormatDiff && req.Snapshot == "" {
		r, lock, err := w.aloneIn(ctx, req.EnvID)
		if err == nil {
			if err = w.refuseUsed(r); err != nil {
				lock.Unlock()
			}
		}
		return r, lock, err
	}
	lock, err := w.store.SettledIn(ctx, req.EnvID)
	if err != nil {
		return nil, nil, failure.New(failure.Store, err, "")
	}
	r, err := w.store.Record(req.EnvID)
	if err != nil {
		lock.Unlock()
		return nil, nil, failure.New(failure.Store, err, "")
	}
	return r, lock, nil
}

// gather finds the layers of the state that is wanted.
func (w *worker) gather(ctx context.Context, e *exported) error {
	img, err := w.storedImage(e.record)
	if err != nil {
		return err
	}
	state := e.Snapshot
	if e.Drift {
		state = e.record.Current
	}
	if state != "" && e.record.Snapshot(state) == nil {
		return failure.New(failure.General, fmt.Errorf("environment %s has no snapshot %s", e.record.Title(), state), "karapace snapshots "+e.record.Title())
	}
	e.dirs = w.state(e.record, state)
	more := w.snapshotLayers(e.record, state)
	if e.Drift {
		drift, err := w.drift(ctx, e.record, img)
		if err != nil {
			return err
		}
		if drift != nil {
			more, e.dirs = append(more, *drift), slices.Insert(e.dirs, 0, w.store.UpperDir(e.record))
		}
	}
	e.image, err = stacked(img, more)
	return err
}

func (w *worker) exportLayout(ctx context.Context, e *exported) (*wire.ExportResult, error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", wire.OutputFD))
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	defer root.Close()
	var owner *ociimage.Owner
	if w.rootless {
		owner = &ociimage.Owner{UID: w.user.UID, GID: w.user.GID}
	}
	l, err := ociimage.NewLayout(root, e.Tag, owner)
	if err != nil {
		return nil, outputFailure(err)
	}
	p := w.watch(e.image)
	defer p.done()
	d, err := ociimage.Send(ctx, p.image, l, ociimage.Options{Compression: e.compression})
	if err != nil {
		return nil, outputFailure(err)
	}
	return &wire.ExportResult{Image: e.image.Digest, Digest: d.Digest, Size: l.Size()}, nil
}

func (w *worker) exportDocker(ctx context.Context, e *exported) (*wire.ExportResult, error) {
	p := w.watch(e.image)
	defer p.done()
	res, err := stream(ctx, ociimage.None, func(out io.Writer) error { return ociimage.WriteDocker(ctx, out, p.image, []string{e.Tag}) })
	if err == nil {
		res.Image = e.image.Digest
	}
	return res, err
}

// exportRoot writes all layers as one. They are verified meanwhile: what is merged has no digest of its own to compare.
func (w *worker) exportRoot(ctx context.Context, e *exported) (*wire.ExportResult, error) {
	p := w.watch(e.image)
	defer p.done()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for _, l := range p.image.Layers {
			if err := l.Write(ctx, io.Discard); err != nil {
				return err
			}
		}
		return nil
	})
	var res *wire.ExportResult
	g.Go(func() (err error) {
		res, err = stream(ctx, e.compression, func(out io.Writer) error {
			to := &listening{w: out}
			_, _, err := fstree.WriteMerged(ctx, to, e.dirs)
			if err != nil && to.err == nil && ctx.Err() == nil {
				err = lost(e.record, err)
			}
			return err
		})
		return err
	})
	return res, g.Wait()
}

// exportDiff writes one layer: the drift, or a snapshot.
func (w *worker) exportDiff(ctx context.Context, e *exported) (*wire.ExportResult, error) {
	layer, err := w.diffLayer(ctx, e)
	if err != nil {
		return nil, err
	}
	p := w.watch(&ociimage.Image{Layers: []ociimage.Layer{*layer}})
	defer p.done()
	return stream(ctx, e.compression, func(out io.Writer) error { return p.image.Layers[0].Write(ctx, out) })
}

func (w *worker) diffLayer(ctx context.Context, e *exported) (*ociimage.Layer, error) {
	r := e.record
	if e.Snapshot != "" {
		s := r.Snapshot(e.Snapshot)
		if s == nil {
			return nil, failure.New(failure.General, fmt.Errorf("environment %s has no snapshot %s", r.Title(), e.Snapshot), "karapace snapshots "+r.Title())
		}
		l := treeLayer(r, s.Layer, s.Size, w.store.EnvDir(r.EnvID, s.Dir), lostSnapshot)
		return &l, nil
	}
	img, err := w.storedImage(r)
	if err != nil {
		return nil, err
	}
	drift, err := w.drift(ctx, r, img)
	if err == nil && drift == nil {
		err = failure.New(failure.General, fmt.Errorf("environment %s has no drift to export", r.Title()), "karapace export --format diff --snapshot ID exports the layer of a snapshot")
	}
	return drift, err
}
