package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// place is where an export is to be: it is made beside, under a name of its own, and appears by one rename.
type place struct {
	path string
	mark string // of a directory: what it holds when it may be replaced; empty for a file
	temp string // what is made
	old  string // what was replaced and is still to be removed, a directory
}

// newPlace refuses what must not be replaced, before anything is done.
func newPlace(path, mark string, force bool) (*place, error) {
	p := &place{path: path, mark: mark}
	if err := p.check(force); err != nil {
		return nil, err
	}
	parent := filepath.Dir(path)
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return nil, failure.New(failure.General, fmt.Errorf("export to %s: there is no directory %s", path, parent), "make it first")
	}
	return p, nil
}

func (p *place) check(force bool) error {
	info, err := os.Lstat(p.path)
	refuse := func(why, hint string) error {
		return failure.New(failure.General, fmt.Errorf("export to %s: %s", p.path, why), hint)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return failure.New(failure.General, err, "")
	case !force:
		return refuse("it is there already", "--force replaces it")
	case p.mark == "" && !info.Mode().IsRegular(), p.mark != "" && !info.IsDir():
		return refuse("what is there is of another kind, and is not replaced", "remove it, or choose another name")
	case p.mark == "":
		return nil
	}
	if _, err := os.Lstat(filepath.Join(p.path, p.mark)); err != nil {
		return refuse("the directory that is there was not made by such an export, since it has no "+p.mark, "remove it, or choose another name")
	}
	return nil
}

// makingPrefix begins the names of what is being made. Its maker has it locked; without a lock it is left over.
const makingPrefix = ".karapace-export-"

// open makes the file or directory aside; the caller closes it.
func (p *place) open() (*os.File, error) {
	for {
		f, err := p.make()
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, p.temp) {
			return f, nil
		}
		f.Close()
		if err != nil && err != unix.EWOULDBLOCK { // else another export has taken it for left over between the two calls
			return nil, failure.New(failure.General, fmt.Errorf("lock %s: %w", p.temp, err), "")
		}
	}
}

// isAt tells whether the file is what the path leads to.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// openOwn opens a directory that is to be emptied. Where others may write, they may have put a link or something of theirs in its place.
func openOwn(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &st); err == nil && int(st.Uid) != os.Geteuid() {
		err = errors.New("it belongs to somebody else")
	}
	if err != nil {
		dir.Close()
		return nil, &os.PathError{Op: "empty", Path: path, Err: err}
	}
	return dir, nil
}

func (p *place) make() (*os.File, error) {
	dir, err := os.MkdirTemp(filepath.Dir(p.path), makingPrefix+"*")
	if err != nil {
		return nil, failure.Output(fmt.Errorf("export to %s: %w", p.path, err))
	}
	p.temp = dir
	flags := os.O_RDONLY
	if p.mark == "" {
		if err := os.Remove(dir); err != nil { // its name is free now, and nobody else makes the same one
			return nil, failure.Output(err)
		}
		flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	} else if err := os.Chmod(dir, 0o755); err != nil {
		return nil, failure.Output(err)
	}
	f, err := os.OpenFile(dir, flags, 0o666)
	return f, failure.Output(err)
}

// publish gives what was made its name, in one step. Only with force is anything replaced.
func (p *place) publish(force bool) error {
	if err := p.rename(force); err != nil {
		return failure.Output(err)
	}
	p.temp = ""
	return failure.Output(storage.SyncDir(filepath.Dir(p.path)))
}

func (p *place) rename(force bool) error {
	_, err := os.Lstat(p.path)
	there := err == nil
	switch {
	case there && !force:
		return failure.New(failure.General, fmt.Errorf("export to %s: it has come into being meanwhile", p.path), "--force replaces it")
	case there && p.mark != "":
		if err := unix.Renameat2(unix.AT_FDCWD, p.temp, unix.AT_FDCWD, p.path, unix.RENAME_EXCHANGE); err != nil {
			return &os.LinkError{Op: "exchange", Old: p.temp, New: p.path, Err: err}
		}
		p.old = p.temp
		return nil
	case there:
		return os.Rename(p.temp, p.path)
	}
	err = unix.Renameat2(unix.AT_FDCWD, p.temp, unix.AT_FDCWD, p.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // the file system does not know it
		return os.Rename(p.temp, p.path)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: p.temp, New: p.path, Err: err}
	}
	return nil
}
