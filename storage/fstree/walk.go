package fstree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Kind is what an entry of a tree is. The values are those of the tar header's typeflag where it has one.
type Kind byte

// The kinds of entries. A whiteout and an opaque mark belong to the layer and hide something of those below.
const (
	File     Kind = '0'
	HardLink Kind = '1' // another name of a file that came before
	Symlink  Kind = '2'
	Dir      Kind = '5'
	FIFO     Kind = '6'
	Whiteout Kind = 'w'
	Opaque   Kind = 'o'
)

// Entry is one entry of a normalised tree.
type Entry struct {
	Path     string // below the root, without a leading slash; for marks as in the archive, with the prefix ".wh."
	Kind     Kind
	Mode     uint32 // 07777
	UID, GID uint32
	MTime    int64         // seconds since the epoch
	Size     int64         // bytes of a file's content
	Link     string        // target of a symbolic link; first name of a hard-linked file
	Content  digest.Digest // of a file's bytes; only in an index
	Xattrs   digest.Digest // of the kept extended attributes; empty without any; only in an index

	xattrs []xattr
}

// source gives the content of the file that is being visited.
type source struct {
	fd   int
	size int64
}

// visitor is told every entry in the order of the canonical archive. src is valid during the call, and nil but for
// files that are not empty.
type visitor func(e *Entry, src *source) error

// walker goes through a normalised tree.
type walker struct {
	ctx   context.Context
	visit visitor
	marks marks
	links map[inode]string // first names of files with several
}

type inode struct{ dev, ino uint64 }

// walk visits all entries of the tree at dir.
func walk(ctx context.Context, dir string, visit visitor) error {
	fd, err := openTree(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	w := &walker{ctx: ctx, visit: visit, marks: newMarks(false), links: map[inode]string{}}
	return w.children(fd, "")
}

func (w *walker) children(fd int, path string) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	order, err := archiveOrder(fd)
	if err != nil {
		return entryError(path, err)
	}
	for _, it := range order {
		if err := w.entry(fd, path, it); err != nil {
			return err
		}
	}
	return nil
}

// item is an entry of a directory under its name on the disk and in the archive.
type item struct{ name, as string }

// archiveOrder lists an open directory in the order of the archive, in which a whiteout stands where its prefix puts it.
func archiveOrder(fd int) ([]item, error) {
	entries, err := readDir(fd)
	if err != nil {
		return nil, err
	}
	order := make([]item, len(entries))
	sorted := true
	for i, e := range entries {
		order[i] = item{e.name, e.name}
		if !e.mayWhiteout {
			continue
		}
		st, err := lstatat(fd, e.name)
		if err != nil {
			return nil, err
		}
		if isWhiteout(&st) {
			order[i].as, sorted = whiteoutPrefix+e.name, false
		}
	}
	if !sorted {
		slices.SortFunc(order, func(a, b item) int { return strings.Compare(a.as, b.as) })
	}
	return order, nil
}

func (w *walker) entry(dir int, parent string, it item) error {
	st, err := lstatat(dir, it.name)
	if err != nil {
		return entryError(join(parent, it.as), err)
	}
	e := &Entry{Path: join(parent, it.as), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Sec}
	if err := w.check(e, it.name); err != nil {
		return entryError(e.Path, err)
	}
	switch fileType(&st) {
	case unix.S_IFDIR:
		return w.dir(dir, it.name, e)
	case unix.S_IFREG:
		return w.file(dir, it.name, &st, e)
	case unix.S_IFLNK:
		e.Kind, e.Mode = Symlink, 0o777
		if e.Link, err = readlinkat(dir, it.name); err != nil {
			return entryError(e.Path, err)
		}
	case unix.S_IFIFO:
		e.Kind = FIFO
	case unix.S_IFCHR:
		if st.Rdev != 0 {
			return entryError(e.Path, errDevice)
		}
		*e = Entry{Path: e.Path, Kind: Whiteout}
	default:
		return entryError(e.Path, errDevice)
	}
	return w.visit(e, nil)
}

// check refuses an entry that no archive can hold.
func (w *walker) check(e *Entry, name string) error {
	switch {
	case len(e.Path) >= unix.PathMax:
		return errors.New("the path is longer than 4095 bytes")
	case strings.HasPrefix(name, whiteoutPrefix):
		return fmt.Errorf("a name that begins with %q means a removed file in a layer and cannot be kept", whiteoutPrefix)
	}
	return nil
}

var errDevice = errors.New("device files and sockets cannot be kept")

func (w *walker) dir(parent int, name string, e *Entry) error {
	fd, err := openDir(parent, name)
	if err != nil {
		return entryError(e.Path, err)
	}
	defer unix.Close(fd)
	e.Kind = Dir
	if e.xattrs, err = keptXattrs(fd, true); err != nil {
		return entryError(e.Path, err)
	}
	if err := w.visit(e, nil); err != nil {
		return err
	}
	opaque, err := w.marks.isOpaque(fd)
	if err != nil {
		return entryError(e.Path, err)
	}
	if opaque {
		if err := w.visit(&Entry{Path: e.Path + "/" + opaqueName, Kind: Opaque}, nil); err != nil {
			return err
		}
	}
	return w.children(fd, e.Path)
}

func (w *walker) file(dir int, name string, st *unix.Stat_t, e *Entry) error {
	e.Kind, e.Size = File, st.Size
	if st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := w.links[id]; ok {
			e.Kind, e.Size, e.Link = HardLink, 0, first
			return w.visit(e, nil)
		}
		w.links[id] = e.Path
	}
	fd, err := openFile(dir, name)
	if err != nil {
		return entryError(e.Path, err)
	}
	defer unix.Close(fd)
	if e.xattrs, err = keptXattrs(fd, false); err != nil {
		return entryError(e.Path, err)
	}
	if e.Size == 0 {
		return w.visit(e, nil)
	}
	return w.visit(e, &source{fd, e.Size})
}

// read fills p, or gives the rest when that is less.
func (s *source) read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), s.size)]
	for n := 0; n < len(p); {
		got, err := unix.Read(s.fd, p[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, fmt.Errorf("read: %w", err)
		case got == 0:
			return n, errors.New("the file became shorter while it was read")
		default:
			n += got
			s.size -= int64(got)
		}
	}
	return len(p), nil
}
