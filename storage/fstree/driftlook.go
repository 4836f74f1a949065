package fstree

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// differences tells in what two things differ; one that is not there differs in "type".
func (d *drifter) differences(a, b *hidden) (what []string, err error) {
	if !a.there && !b.there || a.there && b.there && a.st.Ino == b.st.Ino && a.st.Dev == b.st.Dev {
		return nil, nil
	}
	if !a.there || !b.there || fileType(&a.st) != fileType(&b.st) {
		return []string{"type"}, nil
	}
	link := fileType(&a.st) == unix.S_IFLNK
	if a.st.Mode != b.st.Mode && !link {
		what = append(what, "mode")
	}
	if a.st.Uid != b.st.Uid || a.st.Gid != b.st.Gid {
		what = append(what, "owner")
	}
	var more []string
	switch fileType(&a.st) {
	case unix.S_IFDIR:
		more, err = differentXattrs(a.below.fds[0], b.below.fds[0], true)
	case unix.S_IFREG:
		more, err = d.differentFiles(a, b, len(what) > 0)
	case unix.S_IFLNK:
		more, err = differentLinks(a, b)
	case unix.S_IFCHR, unix.S_IFBLK:
		if a.st.Rdev != b.st.Rdev {
			more = []string{"device"}
		}
	}
	return append(more, what...), err
}

func differentLinks(a, b *hidden) ([]string, error) {
	x, err := readlinkat(a.dir, a.name)
	if errors.Is(err, unix.EINVAL) {
		return nil, errVanished
	}
	if err != nil {
		return nil, err
	}
	y, err := readlinkat(b.dir, b.name)
	if err != nil || x == y {
		return nil, err
	}
	return []string{"link"}, nil
}

// differentFiles compares attributes and bytes. The bytes of files that differ already are not read when size and time
// say that nobody has written to them; that nothing differs is never said of bytes that were not read.
func (d *drifter) differentFiles(a, b *hidden, already bool) (what []string, err error) {
	x, err := a.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(x)
	y, err := b.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(y)
	attrs, err := differentXattrs(x, y, false)
	if err != nil {
		return nil, err
	}
	same := a.st.Size == b.st.Size
	if same && !((already || len(attrs) > 0) && a.st.Mtim == b.st.Mtim) {
		if same, err = sameBytes(d.ctx, x, y); err != nil {
			return nil, err
		}
	}
	if !same {
		what = []string{"content"}
	}
	return append(what, attrs...), nil
}

// open opens a regular file that is still the one that was found.
func (h *hidden) open() (int, error) {
	fd, err := openFile(h.dir, h.name)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Ino != h.st.Ino || st.Dev != h.st.Dev || st.Size != h.st.Size) {
		err = errVanished
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func differentXattrs(a, b int, dir bool) ([]string, error) {
	x, err := shownXattrs(a, dir)
	if err != nil {
		return nil, err
	}
	y, err := shownXattrs(b, dir)
	if err != nil || slices.Equal(x, y) {
		return nil, err
	}
	return []string{"xattr"}, nil
}

// shownXattrs is keptXattrs for what may hold values that no layer can keep.
func shownXattrs(fd int, dir bool) ([]xattr, error) {
	return readXattrs(fd, dir, func(name, value string) (string, error) {
		if canonical, err := canonicalXattr(name, value); err == nil {
			return canonical, nil
		}
		return value, nil
	})
}
