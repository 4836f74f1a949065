package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// Delete removes a layer. One that images, or layers made on it, still need gives ErrInUse.
func (s *Store) Delete(ctx context.Context, diffID digest.Digest) error {
	return s.locked(ctx, fmt.Sprintf("delete layer %s", diffID), func(c cstorage.Store) error {
		r, err := s.readRecord(diffID)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil { // a damaged record names nothing; Sweep takes what it stood for
			return s.removeRecord(diffID)
		}
		if used, err := inUse(c, r.ID); err != nil || used {
			return errors.Join(err, use(used))
		}
		if err := s.removeRecord(diffID); err != nil {
			return err
		}
		return deleteLayer(c, r.ID)
	})
}

// Empty removes the files of a layer that others lie on, which need only its place. To exist again it must be made again.
func (s *Store) Empty(ctx context.Context, diffID digest.Digest) error {
	return s.locked(ctx, fmt.Sprintf("empty layer %s", diffID), func(cstorage.Store) error {
		r, err := s.readRecord(diffID)
		if err != nil {
			return err
		}
		return fstree.RemoveAll(filepath.Join(s.graphRoot(), driverName, r.ID, "diff"))
	})
}

// ErrInUse means that something in the store still needs a layer.
var ErrInUse = errors.New("it is in use")

func use(used bool) error {
	if used {
		return ErrInUse
	}
	return nil
}

func inUse(c cstorage.Store, id string) (bool, error) {
	all, err := c.Layers()
	if err != nil {
		return false, err
	}
	images, err := c.Images()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(l cstorage.Layer) bool { return l.Parent == id }) ||
		slices.ContainsFunc(images, func(i cstorage.Image) bool { return i.TopLayer == id }), nil
}

func (s *Store) removeRecord(diffID digest.Digest) error {
	if err := os.Remove(s.recordPath(diffID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return storage.SyncDir(s.records())
}

func deleteLayer(c cstorage.Store, id string) error {
	if err := c.DeleteLayer(id); err != nil && !errors.Is(err, cstorage.ErrLayerUnknown) && !errors.Is(err, cstorage.ErrNotALayer) {
		return err
	}
	return nil
}

// Images returns the digests of all stored images, sorted.
func (s *Store) Images() (all []digest.Digest, err error) {
	defer s.survive(&err)
	c, err := s.open()
	if err != nil {
		return nil, err
	}
	images, err := c.Images()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, i := range images {
		all = append(all, i.Digest)
	}
	slices.Sort(all)
	return all, nil
}

// DeleteImage removes an image; its layers stay.
func (s *Store) DeleteImage(ctx context.Context, d digest.Digest) error {
	return s.locked(ctx, fmt.Sprintf("delete image %s", d), func(c cstorage.Store) error {
		images, err := c.Images()
		if err != nil {
			return err
		}
		for _, i := range images {
			if i.Digest != d {
				continue
			}
			// its record only: with commit, DeleteImage would also take layers that no image names
			if err := c.Delete(i.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// Sweep removes what interrupted operations left in containers/storage: layers without a record, staging
// directories and temporary files. Nobody else may use containers/storage meanwhile, reading aside. It returns the ids of the layers. With dryRun it only tells.
func (s *Store) Sweep(ctx context.Context, dryRun bool) (removed []string, err error) {
	err = s.locked(ctx, "sweep layers", func(c cstorage.Store) error {
		removed, err = s.garbage(c)
		if err != nil || dryRun {
			return err
		}
		for _, id := range removed {
			if err := deleteLayer(c, id); err != nil {
				return err
			}
		}
		if err := c.GarbageCollect(); err != nil {
			return err
		}
		if err := s.dropTemporary(); err != nil {
			return err
		}
		_, err := c.Shutdown(false) // removes staging directories whose makers are gone
		return err
	})
	return removed, err
}

// dropTemporary removes files that containers/storage was about to put in the place of others when it was ended.
func (s *Store) dropTemporary() error {
	var err error
	for _, pattern := range []string{"*/.tmp-*", "overlay*/*/.tmp-*", "run/*/.tmp-*"} {
		files, globErr := storage.Glob(s.graphRoot(), pattern)
		err = errors.Join(err, globErr)
		for _, f := range files {
			err = errors.Join(err, os.Remove(f))
		}
	}
	return err
}

// garbage lists the layers that nothing with a record needs, children first.
func (s *Store) garbage(c cstorage.Store) ([]string, error) {
	all, err := c.Layers()
	if err != nil {
		return nil, err
	}
	images, err := c.Images()
	if err != nil {
		return nil, err
	}
	known, err := s.List()
	if err != nil {
		return nil, err
	}
	parent := map[string]string{}
	for _, l := range all {
		parent[l.ID] = l.Parent
	}
	needed := map[string]bool{"": true}
	need := func(id string) {
		for !needed[id] {
			needed[id] = true
			id = parent[id]
		}
	}
	for _, d := range known {
		if r, err := s.readRecord(d); err == nil {
			need(r.ID)
		}
	}
	for _, i := range images {
		need(i.TopLayer)
	}
	return childrenFirst(all, needed), nil
}

func childrenFirst(all []cstorage.Layer, needed map[string]bool) (order []string) {
	done := map[string]bool{}
	for len(done) < len(all) {
		before := len(done)
		for _, l := range all {
			if done[l.ID] || slices.ContainsFunc(all, func(c cstorage.Layer) bool { return c.Parent == l.ID && !done[c.ID] }) {
				continue
			}
			done[l.ID] = true
			if !needed[l.ID] {
				order = append(order, l.ID)
			}
		}
		if len(done) == before { // parents that go in a circle
			return order
		}
	}
	return order
}

// locked runs f while no other process changes layers.
func (s *Store) locked(ctx context.Context, what string, f func(cstorage.Store) error) (err error) {
	defer s.survive(&err)
	lock, err := storage.WaitLock(ctx, s.records()+"/.", s.Waiting)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer lock.Unlock()
	c, err := s.open()
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
