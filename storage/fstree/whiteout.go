package fstree

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the OCI image specification, layer.md.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // bookkeeping of AUFS, but for opaqueName
	opaqueName     = ".wh..wh..opq"
)

// whiteout obeys a whiteout entry in a layer: what earlier layers left under the name, or for an opaque mark in the
// directory, goes. What this layer itself has made stays, whether it came before or comes after.
func (x *extractor) whiteout(dir, base string) error {
	name := strings.TrimPrefix(base, whiteoutPrefix)
	switch {
	case base == opaqueName:
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	case name == "", name == ".", name == "..":
		return fmt.Errorf("a whiteout cannot remove %q", name)
	}
	at := dir
	if at == "" {
		at = "."
	}
	fd, err := x.resolve(at)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	x.forget()
	if base == opaqueName {
		return x.prune(fd, ".", dir)
	}
	return x.pruneEntry(fd, name, join(dir, name))
}

// prune removes what earlier layers left in the directory name of dir. Once is enough: nothing of theirs comes back.
func (x *extractor) prune(dir int, name, path string) error {
	fd, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	id := inode{st.Dev, st.Ino}
	if _, done := x.pruned[id]; done {
		return nil
	}
	x.pruned[id] = struct{}{}
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := x.pruneEntry(fd, child, join(path, child)); err != nil {
			return err
		}
	}
	return nil
}

func (x *extractor) pruneEntry(dir int, name, path string) error {
	if _, ok := x.own[path]; !ok {
		return removeAt(dir, name)
	}
	st, err := lstatat(dir, name)
	if err != nil || !isDir(&st) {
		return err
	}
	return x.prune(dir, name, path)
}
