package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// steps are the migrations there are, one from each version to the next.
func (w *worker) steps() []storage.Step {
	return []storage.Step{{From: 1, What: "seal the records", Do: w.sealRecords}}
}

// migrate brings the store to the version that this program knows.
func (w *worker) migrate(ctx context.Context) (*storage.Migrated, error) {
	w.tell.Step("migrate the store")
	m, err := w.store.Migrate(ctx, storage.Version, w.steps())
	if err == nil {
		err = errors.Join(w.giveToUser(w.store.Path("backup")), w.giveToUser(w.store.Path("version")))
	}
	return m, failure.New(failure.Store, err, hintOf(err))
}

func hintOf(err error) string {
	var se *storage.Error
	if errors.As(err, &se) {
		return se.Hint
	}
	return ""
}

// sealRecords leads from version 1 to 2. What the host adds is believed as it is.
func (w *worker) sealRecords(ctx context.Context, s *storage.Store) error {
	lost := func(path string) {
		w.tell.Note(path + " is damaged and stays as it is: karapace verify-store --repair")
	}
	store, err := w.layers()
	if err != nil {
		return err
	}
	if err := store.Seal(ctx, lost); err != nil {
		return err
	}
	if err := s.SealBuilt(); err != nil {
		return err
	}
	err = s.SealRecords(func(r *storage.Record) (digest.Digest, error) {
		d, _, err := fstree.Digest(ctx, s.HostDir(r))
		if errors.Is(err, fs.ErrNotExist) {
			lost(s.HostDir(r))
			return "", nil
		}
		return d, err
	}, lost)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Path("envs"))
	for _, e := range entries { // the user's own process writes copies too
		err = errors.Join(err, w.giveToUser(s.Path("envs", e.Name(), "copy")))
	}
	return err
}

// giveToUser makes a tree of plain files the user's, who may read and remove it.
func (w *worker) giveToUser(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, os.Lchown(path, w.user.UID, w.user.GID))
	})
}
