package fstree

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// mark makes a whiteout entry the mark that overlays know.
func (x *extractor) mark(dir, base string) error {
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if base == opaqueName {
		return x.markOpaque(dir)
	}
	if strings.HasPrefix(base, whiteoutMeta) || name == "" || name == "." || name == ".." {
		return fmt.Errorf("a whiteout cannot remove %q", name)
	}
	_, _, err := x.replace(join(dir, name), func(dir int, base string) error { return unix.Mknodat(dir, base, unix.S_IFCHR, 0) })
	return err
}

func (x *extractor) markOpaque(dir string) error {
	at := dir
	if at == "" {
		return fmt.Errorf("the root cannot be opaque")
	}
	parent, base, err := x.parent(at)
	if err != nil {
		return err
	}
	fd, err := openDir(parent, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.marks.makeOpaque(fd)
}

// settleDirs gives all directories of a tree a time, and the root its mode and owner.
func settleDirs(root int, mtime int64) error {
	fd, err := openat(root, ".", openDirFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, 0, 0); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o755); err != nil {
		return err
	}
	if err := settleBelow(fd, "", mtime); err != nil {
		return err
	}
	return setMtime(fd, ".", mtime)
}

func settleBelow(fd int, path string, mtime int64) error {
	entries, err := readDir(fd)
	if err != nil {
		return entryError(path, err)
	}
	for _, e := range entries {
		if e.leaf {
			continue
		}
		name := join(path, e.name)
		if err := settleDir(fd, e.name, name, mtime); err != nil {
			return entryError(name, err)
		}
	}
	return nil
}

func settleDir(parent int, name, path string, mtime int64) error {
	st, err := lstatat(parent, name)
	if err != nil || !isDir(&st) {
		return err
	}
	fd, err := openDir(parent, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := settleBelow(fd, path, mtime); err != nil {
		return err
	}
	return setMtime(parent, name, mtime)
}
