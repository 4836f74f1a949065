package fstree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// RemoveAll removes path and everything below it. Links are removed, not followed; a file system mounted below stops it
// with an error; what is not there is no error. Trees may be deeper than a path can be long.
func RemoveAll(path string) error {
	parent, name := filepath.Split(filepath.Clean(path))
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("remove tree: %q names no entry of a directory", path)
	}
	if parent == "" {
		parent = "."
	}
	dir, err := openTree(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove tree: %w", err)
	}
	defer unix.Close(dir)
	if err := removeAt(dir, name); err != nil {
		return fmt.Errorf("remove tree %s: %w", path, err)
	}
	return nil
}

// removeAt removes an entry of an open directory with all below it.
func removeAt(dir int, name string) error {
	done, err := unlinkAt(dir, name)
	if done || err != nil {
		return err
	}
	r := &remover{top: dir, topName: name, helpers: make(chan struct{}, min(runtime.GOMAXPROCS(0), maxRemovers)-1)}
	return r.tree(dir, name, 0)
}

// unlinkAt removes an entry that is no directory; done is false when it is one.
func unlinkAt(dir int, name string) (done bool, err error) {
	switch err := unix.Unlinkat(dir, name, 0); err {
	case nil, unix.ENOENT:
		return true, nil
	case unix.EISDIR, unix.EPERM: // EPERM: POSIX's answer for directories, and an immutable file's
		st, serr := lstatat(dir, name)
		if serr == nil && isDir(&st) {
			return false, nil
		}
		return true, removeError(name, err)
	default:
		return true, removeError(name, err)
	}
}

func removeError(name string, err error) error {
	return &os.PathError{Op: "remove", Path: name, Err: err}
}

// maxDepth bounds the descriptors a removal holds. Deeper directories are first moved up.
const maxDepth = 128

// maxRemovers is how many processors remove one tree: with more the file system's journal is what they wait for.
const maxRemovers = 4

type remover struct {
	top     int
	topName string
	moved   atomic.Int64
	helpers chan struct{} // holds one for each goroutine that removes a directory beside the caller
}

func (r *remover) tree(dir int, name string, depth int) error {
	if depth == maxDepth {
		return r.moveUp(dir, name)
	}
	fd, err := openDir(dir, name)
	if errors.Is(err, unix.EACCES) {
		if err = unix.Fchmodat(dir, name, 0o700, 0); err == nil {
			fd, err = openDir(dir, name)
		}
	}
	if err != nil {
		return removeError(name, err)
	}
	err = r.children(fd, depth)
	unix.Close(fd)
	if err != nil {
		return err
	}
	return r.rmdir(dir, name)
}

// children empties a directory, by itself or, as long as there are processors, with help for the directories in it.
func (r *remover) children(fd, depth int) error {
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	var helped errgroup.Group
	for _, name := range names {
		done, err := unlinkAt(fd, name)
		if err == nil && !done {
			select {
			case r.helpers <- struct{}{}:
				helped.Go(func() error {
					defer func() { <-r.helpers }()
					return r.again(fd, name, r.tree(fd, name, depth+1))
				})
				continue
			default:
				err = r.tree(fd, name, depth+1)
			}
		}
		if err = r.again(fd, name, err); err != nil {
			return errors.Join(err, helped.Wait())
		}
	}
	return helped.Wait()
}

// again tries what failed for want of the write permission of root.
func (r *remover) again(fd int, name string, err error) error {
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	if err := unix.Fchmod(fd, 0o700); err != nil {
		return err
	}
	return removeAt(fd, name)
}

func (r *remover) rmdir(dir int, name string) error {
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return removeError(name, err)
	}
	return nil
}

// moveUp renames a directory that lies too deep to beside the tree's top, and removes it from there. Who collects what a removal
// that is killed has left knows the name.
func (r *remover) moveUp(dir int, name string) error {
	up := fmt.Sprintf(".%s.%d.%d", r.topName[:min(len(r.topName), 200)], os.Getpid(), r.moved.Add(1))
	if err := unix.Renameat(dir, name, r.top, up); err != nil {
		return removeError(name, err)
	}
	return r.tree(r.top, up, 0)
}
