package fstree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// lowers are the directories, top first, that an overlay would merge under one directory of the upper.
type lowers struct {
	marks *marks
	fds   []int
	trees []string // what each of them lies in
}

func openLowers(m *marks, dirs []string) (*lowers, error) {
	l := &lowers{marks: m}
	for _, d := range dirs {
		fd, err := openTree(d)
		if err != nil {
			l.close()
			return nil, err
		}
		l.fds, l.trees = append(l.fds, fd), append(l.trees, d)
	}
	return l, nil
}

func (l *lowers) close() {
	for _, fd := range l.fds {
		unix.Close(fd)
	}
	l.fds = nil
}

// hidden is what the layers below have under a name.
type hidden struct {
	there bool
	dir   int // descriptor of the directory it lies in
	name  string
	st    unix.Stat_t
	below *lowers // when it is a directory: what an overlay merges; to be closed
	own   lowers  // room for it
}

func (h *hidden) isDir() bool { return h.there && isDir(&h.st) }

// find looks a name up as an overlay does: the first layer that has it decides, directories are merged until a layer
// has something else there, or an opaque directory.
func (l *lowers) find(name string) (*hidden, error) {
	h := &hidden{name: name, own: lowers{marks: l.marks}}
	h.below = &h.own
	for i, fd := range l.fds {
		st, err := lstatat(fd, name)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return h, fmt.Errorf("look into the layers below: %w", err)
		}
		if isWhiteout(&st) || h.there && !isDir(&st) {
			break
		}
		if !h.there {
			h.there, h.dir, h.st = true, fd, st
		}
		if !isDir(&st) {
			break
		}
		child, err := openDir(fd, name)
		if err != nil {
			return h, fmt.Errorf("look into the layers below: %w", err)
		}
		h.below.fds, h.below.trees = append(h.below.fds, child), append(h.below.trees, l.trees[i])
		if i == len(l.fds)-1 {
			break
		}
		if opaque, err := l.marks.isOpaque(child); err != nil || opaque {
			return h, err
		}
	}
	return h, nil
}

// empty tells whether the merged directory shows nothing.
func (l *lowers) empty() (bool, error) {
	gone := map[string]bool{}
	for _, fd := range l.fds {
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return false, err
		}
		names, err := readNames(fd)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			st, err := lstatat(fd, name)
			if err != nil {
				return false, err
			}
			if !isWhiteout(&st) && !gone[name] {
				return false, nil
			}
			gone[name] = true
		}
	}
	return true, nil
}

// sameMeta compares type, mode and owner; of what is no directory also how many names it has, but for a copy with one.
func (h *hidden) sameMeta(st *unix.Stat_t) bool {
	if !h.there || h.st.Mode != st.Mode || h.st.Uid != st.Uid || h.st.Gid != st.Gid {
		return false
	}
	return isDir(st) || st.Nlink == 1 || st.Nlink == h.st.Nlink
}

// sameFile tells whether the file, link or FIFO name in dir is what the layers below show anyway.
func (h *hidden) sameFile(dir int, st *unix.Stat_t) (bool, error) {
	if !h.sameMeta(st) {
		return false, nil
	}
	switch fileType(st) {
	case unix.S_IFLNK:
		a, err := readlinkat(dir, h.name)
		if err != nil {
			return false, err
		}
		b, err := readlinkat(h.dir, h.name)
		return a == b, err
	case unix.S_IFREG:
		return st.Size == h.st.Size, nil
	default:
		return true, nil
	}
}

// sameContent compares the attributes and the bytes of an open regular file with those below.
func (h *hidden) sameContent(ctx context.Context, fd int) (bool, error) {
	other, err := openFile(h.dir, h.name)
	if err != nil {
		return false, err
	}
	defer unix.Close(other)
	if same, err := sameXattrs(fd, other, false); err != nil || !same {
		return false, err
	}
	return sameBytes(ctx, fd, other)
}

// sameDir compares the attributes of an open directory with the one below.
func (h *hidden) sameDir(fd int, st *unix.Stat_t) (bool, error) {
	if !h.sameMeta(st) {
		return false, nil
	}
	return sameXattrs(fd, h.below.fds[0], true)
}

func sameXattrs(a, b int, dir bool) (bool, error) {
	x, err := keptXattrs(a, dir)
	if err != nil {
		return false, err
	}
	y, err := keptXattrs(b, dir)
	return slices.Equal(x, y), err
}

func sameBytes(ctx context.Context, a, b int) (bool, error) {
	p, q := direntBuffers.Get().(*[]byte), direntBuffers.Get().(*[]byte)
	defer direntBuffers.Put(p)
	defer direntBuffers.Put(q)
	for off := int64(0); ; {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		n, err := preadFull(a, *p, off)
		if err != nil {
			return false, err
		}
		m, err := preadFull(b, *q, off)
		if err != nil {
			return false, err
		}
		if !bytes.Equal((*p)[:n], (*q)[:m]) {
			return false, nil
		}
		if n < len(*p) {
			return true, nil
		}
		off += int64(n)
	}
}

func preadFull(fd int, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		got, err := unix.Pread(fd, p[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("read: %w", err)
		}
		if got == 0 {
			break
		}
		n += got
	}
	return n, nil
}
