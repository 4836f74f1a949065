package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// createTemporary makes the file in dir that is to replace one named base, locked by its writer until that closes it: one that
// nobody locks is garbage.
func createTemporary(dir, base string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, tempPrefix+base+"-*")
		if err != nil {
			return nil, err
		}
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && isAt(f, f.Name()) {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) { // else it was taken for garbage between the two calls
			os.Remove(f.Name())
			return nil, err
		}
	}
}

// IsTemporary tells the name of a file that is to replace another one.
func IsTemporary(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// WriteDocument is WriteFile for a file outside any store, where no gc comes by: it also removes what earlier writers of
// the same file have left who ended early.
func WriteDocument(path string, data []byte, perm fs.FileMode) error {
	if err := WriteFile(path, data, perm); err != nil {
		return err
	}
	left, _ := abandonedIn(filepath.Dir(path), tempPrefix+filepath.Base(path)+"-", isFile) // the document is written, whatever becomes of them
	for _, s := range left {
		os.Remove(s.Dir)
		s.Release()
	}
	return nil
}

// AbandonedFiles returns the temporary files of the store whose writers are gone, each locked; the caller removes and
// releases them. Those of the vault are left out.
func (s *Store) AbandonedFiles() ([]*Scratch, error) {
	var left []*Scratch
	for _, pattern := range []string{".", "layers", "built", "quick", "fetched", "pushed", "transit/*", "envs", "envs/*"} {
		dirs, err := Glob(s.root, pattern)
		if err != nil {
			return nil, fmt.Errorf("list temporary files: %w", err)
		}
		for _, dir := range dirs {
			found, err := abandonedIn(dir, tempPrefix, isFile)
			if err != nil {
				return nil, err
			}
			left = append(left, found...)
		}
	}
	return left, nil
}

// AbandonedVersions are the same in a directory that has not become a store.
func AbandonedVersions(root string) ([]*Scratch, error) {
	return abandonedIn(root, tempPrefix+"version-", isFile)
}

// AbandonedNames returns the links of LinkName that never got their names. Call it within ChangeNames.
func (s *Store) AbandonedNames() ([]string, error) {
	return Glob(s.Path("names"), tempPrefix+"*")
}

// AbandonedIn returns what is in a directory outside any store, begins with the prefix, and is locked by nobody, as it is while
// its maker lives. Each is locked; the caller removes and releases them.
func AbandonedIn(dir, prefix string) ([]*Scratch, error) {
	return abandonedIn(dir, prefix, func(os.DirEntry) bool { return true })
}

func isFile(e os.DirEntry) bool { return e.Type().IsRegular() }

// abandonedIn returns what is in dir, with a prefix and of a kind, and locked by nobody, each locked. A directory that is
// gone has none.
func abandonedIn(dir, prefix string, kind func(os.DirEntry) bool) (left []*Scratch, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("list temporary files: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !kind(e) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // gone, or not ours
		}
		if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) != nil || !isAt(f, path) {
			f.Close()
			continue
		}
		left = append(left, &Scratch{Dir: path, lock: &Lock{f}})
	}
	return left, nil
}
