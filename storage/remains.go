package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveRemains takes away what an early end of the removal of a whole store has left at root: a directory without a version
// that holds nothing but empty directories and locks of a store. Anything else it leaves as it is.
func RemoveRemains(root string) error {
	if _, err := Open(root); !errors.Is(err, ErrNoStore) {
		return err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil // and a directory that is merely empty may be somebody's
	}
	if err != nil {
		return &Error{Path: root, Msg: err.Error()}
	}
	if notOurs(entries) != "" {
		return nil
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(root, e.Name())); err != nil {
			return &Error{Path: root, Msg: err.Error()}
		}
	}
	if err := os.Remove(root); err != nil {
		return &Error{Path: root, Msg: err.Error()}
	}
	return SyncDir(filepath.Dir(root))
}
