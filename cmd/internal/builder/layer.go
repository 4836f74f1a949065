package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
)

// adopt makes a normalised tree a layer of the store by renaming it; parent is the layer below, if any. early is a sync
// begun before the tree was normalised: the disk writes most of it while the processor has other work to do. Its error
// must be heard, since the kernel tells it once.
func (b *build) adopt(ctx context.Context, dir string, parent digest.Digest, early <-chan error) (layer, error) {
	if b.aside != nil {
		return b.aside.keep(ctx, dir)
	}
	late := b.startSync(dir)
	id, size, err := fstree.Digest(ctx, dir)
	if err = errors.Join(err, <-early, <-late); err != nil {
		return layer{}, failure.New(failure.Store, err, "")
	}
	store, err := b.layers()
	if err != nil {
		return layer{}, err
	}
	take := store.Adopt
	if b.req.Fresh || b.req.Mend { // a rebuild mends
		take = store.Mend
	}
	l, err := take(ctx, dir, parent, id, size)
	if err != nil {
		return layer{}, failure.New(failure.Store, err, "")
	}
	return layer{ID: id, Dir: l.Dir, Link: l.Link, Size: size}, nil
}

// drop removes a scratch directory; one that cannot be removed is left to the next sweep.
func (w *worker) drop(s *storage.Scratch) {
	fstree.RemoveAll(s.Dir)
	s.Release()
}

// image writes the OCI image of the environment's layers into the store.
func (b *build) image(ctx context.Context) (digest.Digest, error) {
	ids := []digest.Digest{b.base.ID}
	stack := []layers.Layer{{DiffID: b.base.ID, Size: b.base.Size}}
	if b.packages.ID != "" {
		ids = append(ids, b.packages.ID)
		stack = append(stack, layers.Layer{DiffID: b.packages.ID, Size: b.packages.Size})
	}
	if b.aside != nil {
		img, err := layers.EncodeImage(imageConfig(b.lock, b.base.Env), imageNotes(b.lock), stack)
		if err != nil {
			return "", failure.New(failure.General, err, "")
		}
		return img.Digest, nil
	}
	store, err := b.layers()
	if err != nil {
		return "", err
	}
	img, err := store.Image(ctx, ids, imageConfig(b.lock, b.base.Env), imageNotes(b.lock))
	if err != nil {
		return "", failure.New(failure.Store, err, "")
	}
	return img.Digest, nil
}

// policy is what a layer does not keep: what a table says, and the paths a lock names.
func policy(v distro.Volatile, paths []string) fstree.Policy {
	p := fstree.Policy{Drop: append([]string{}, v.Drop...)}
	for _, path := range paths {
		p.Drop = append(p.Drop, fstree.Literal(path))
	}
	for _, r := range v.Rewrites {
		p.Rewrites = append(p.Rewrites, fstree.Rewrite{Pattern: r.Pattern, Func: r.Func})
	}
	return p
}

// removeImages deletes base layers that no environment uses, with the images and package layers made on them that no
// environment uses either.
func (w *worker) removeImages(ctx context.Context, req *wire.Images) error {
	used, err := w.used()
	if err != nil {
		return err
	}
	for _, id := range req.RemoveLayers {
		if used[digest.Digest(id)] {
			return failure.New(failure.General, fmt.Errorf("base layer %s is in use", id), "karapace images tells by whom")
		}
	}
	store, err := w.layers()
	if err != nil {
		return err
	}
	if err := w.refuseBearing(store, req.RemoveLayers); err != nil {
		return err
	}
	if err := w.keepBelow(used); err != nil {
		return err
	}
	for _, id := range req.RemoveLayers { // before they go
		if err := w.store.ForgetLayer(digest.Digest(id)); err != nil {
			return failure.New(failure.Store, err, "")
		}
	}
	if err := dropUnused(ctx, store, used); err != nil {
		return failure.New(failure.Store, err, "")
	}
	for _, id := range req.RemoveLayers {
		if err := store.Delete(ctx, digest.Digest(id)); err != nil {
			return failure.New(failure.Store, fmt.Errorf("remove base layer %s: %w", id, err), "karapace gc removes what an interrupted command left on it")
		}
	}
	return failure.New(failure.Store, syncFS(w.store.Root()), "") // what is gone stays gone
}

// refuseBearing keeps base layers that packages of an environment lie on, which has another base that gives the same.
func (w *worker) refuseBearing(store *layers.Store, bases []string) error {
	records, _ := w.store.Records()
	for _, r := range records {
		for _, d := range store.Below(r.PackageLayer) {
			if slices.Contains(bases, string(d)) {
				return failure.New(failure.General, fmt.Errorf("base layer %s is in use: the packages of environment %s were installed on it", d, r.Title()),
					"karapace gc removes it once no environment has these packages")
			}
		}
	}
	return nil
}

// used are the layers and images of all environments. A record that cannot be read may need anything.
func (w *worker) used() (map[digest.Digest]bool, error) {
	records, bad := w.store.Records()
	if len(bad) > 0 {
		return nil, failure.New(failure.Store, fmt.Errorf("nothing is removed while a record cannot be read: %w", bad[0]), "")
	}
	used := map[digest.Digest]bool{}
	for _, r := range records {
		used[r.BaseLayer], used[r.PackageLayer], used[r.ImageDigest] = true, true, true
	}
	return used, nil
}

// dropUnused deletes images that are not used, and the package layers that nothing needs then. A package layer that is
// still remembered in the build cache is merely made again.
func dropUnused(ctx context.Context, store *layers.Store, used map[digest.Digest]bool) error {
	images, err := store.Images()
	if err != nil {
		return err
	}
	for _, d := range images {
		if !used[d] {
			if err := store.DeleteImage(ctx, d); err != nil {
				return err
			}
		}
	}
	all, err := store.List()
	if err != nil {
		return err
	}
	for _, d := range all {
		if l, ok := store.Lookup(d); ok && l.Parent != "" && !used[d] {
			if err := store.Delete(ctx, d); err != nil && !errors.Is(err, layers.ErrInUse) {
				return err
			}
		}
	}
	return nil
}
