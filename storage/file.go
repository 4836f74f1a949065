package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const tempPrefix = ".tmp-"

// WriteFile makes path hold data so that after a crash at any moment it holds the old or the new content whole, and
// after a return without error the new one survives a power cut: temporary file, fsync, rename, fsync of the directory.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return writeFile(filepath.Dir(path), path, data, perm)
}

// writeFile has the temporary file in a directory through, whose time of change the rename changes too.
func writeFile(through, path string, data []byte, perm fs.FileMode) (err error) {
	f, err := createTemporary(through, filepath.Base(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil { // before the file is closed, and with it unlocked
		return err
	}
	f.Close()
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in dir survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// Glob returns the paths below a directory, whatever that is called, that match a pattern of path.Match.
func Glob(dir, pattern string) ([]string, error) {
	found, err := fs.Glob(os.DirFS(dir), pattern)
	for i, path := range found {
		found[i] = filepath.Join(dir, path)
	}
	return found, err
}

// Starved tells whether err is for want of descriptors or memory, which says nothing about what was to be read.
func Starved(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// readBounded reads a regular file of at most limit bytes; links, pipes and devices are refused without blocking. It is
// on the way of every command and reads a record in four system calls.
func readBounded(path string, limit int64) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: path, Err: err} }
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return fail(fmt.Errorf("%w: not a regular file", errUnfit))
	case st.Size > limit:
		return fail(fmt.Errorf("%w: larger than %d bytes", errUnfit, limit))
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		got, err := syscall.Read(fd, b[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fail(err)
		}
		if got == 0 { // it shrank meanwhile
			return b[:n], nil
		}
		n += got
	}
	return b, nil
}

// errUnfit is of what cannot be a file of the store, whatever it holds.
var errUnfit = errors.New("it is no file of a store")

func blocks(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512 / int64(max(1, st.Nlink))
	}
	return info.Size()
}
