package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Step brings a store from one version to the next. Do may be ended at any moment; it is done again from the beginning
// then, over what it has done already.
type Step struct {
	From int
	What string
	Do   func(context.Context, *Store) error
}

// Migrated is what Migrate did.
type Migrated struct {
	From   int    `json:"from"`
	To     int    `json:"to"`
	Backup string `json:"backup"` // a directory with the records as they were; empty when there was nothing to do
}

// Migrate brings a store to a version, by a step for each one between. Records are copied before anything is changed, and
// each step takes effect by one write of the version. The caller keeps builds out; names and records do not change meanwhile.
func (s *Store) Migrate(ctx context.Context, to int, steps []Step) (*Migrated, error) {
	m := &Migrated{To: to}
	err := s.ChangeNames(ctx, func() (err error) {
		if m.From, err = VersionOf(s.root); err != nil {
			return err
		}
		if m.From > to {
			return &Error{Path: s.root, Msg: fmt.Sprintf("it is of version %d, and this program knows version %d", m.From, to), Hint: "use a newer version of karapace: nothing goes back"}
		}
		if m.From == to {
			return nil
		}
		if m.Backup, err = s.backUp(m.From); err != nil {
			return fmt.Errorf("copy the records of store %s: %w", s.root, err)
		}
		for v := m.From; v < to; v++ {
			if err := s.step(ctx, v, steps); err != nil {
				return err
			}
		}
		return nil
	})
	return m, err
}

func (s *Store) step(ctx context.Context, from int, steps []Step) error {
	for _, step := range steps {
		if step.From != from {
			continue
		}
		if err := step.Do(ctx, s); err != nil {
			return fmt.Errorf("migrate store %s from version %d to %d: %s: %w", s.root, from, from+1, step.What, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.SetVersion(from + 1)
	}
	return &Error{Path: s.root, Msg: fmt.Sprintf("it is of version %d, which this program cannot migrate", from), Hint: "migrate it with the version of karapace before this one first"}
}

// recordFiles are patterns of all that is small and says what there is.
func recordFiles() []string {
	return []string{
		"version", "names/*", "envs/*/record.json", "envs/*/karapace.lock", "layers/*.json", "built/*.json", "fetched/*.lock", "quick/*",
		"storage/overlay-layers/layers.json", "storage/overlay-images/images.json",
	}
}

// backUp copies all records to a directory that is there whole or not at all. Earlier ones stay.
func (s *Store) backUp(version int) (string, error) {
	scratch, err := s.Scratch("backup")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch.Dir)
	defer scratch.Release()
	for _, pattern := range recordFiles() {
		files, err := Glob(s.root, pattern)
		if err != nil {
			return "", err
		}
		for _, file := range files {
			rel, err := filepath.Rel(s.root, file)
			if err != nil {
				return "", err
			}
			if err := copyRecord(file, filepath.Join(scratch.Dir, rel)); err != nil {
				return "", err
			}
		}
	}
	if err := os.Mkdir(s.Path("backup"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	for n := 1; ; n++ {
		to := s.Path("backup", strings.TrimSuffix("version-"+strconv.Itoa(version)+"."+strconv.Itoa(n), ".1"))
		err := os.Rename(scratch.Dir, to) // never onto another: they are not empty
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return to, errors.Join(err, SyncDir(s.Path("backup")))
	}
}

// copyRecord copies a small file, or a link, and the directories it is in. What is neither is not copied.
func copyRecord(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if target, err := os.Readlink(from); err == nil {
		return os.Symlink(target, to)
	}
	b, err := readBounded(from, 256<<20)
	if errors.Is(err, errUnfit) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return WriteFile(to, b, 0o600)
}
