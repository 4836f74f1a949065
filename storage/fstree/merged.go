package fstree

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// WriteMerged writes the canonical archive of what an overlay of normalised trees, top first, shows: all of it, and no
// marks. It returns the archive's digest and size in bytes. Nothing is mounted for it. Of one tree it is WriteTar.
func WriteMerged(ctx context.Context, w io.Writer, dirs []string) (d digest.Digest, size int64, err error) {
	m := newMarks(false)
	l, err := openLowers(&m, dirs)
	if err != nil {
		return "", 0, fmt.Errorf("archive merged trees: %w", err)
	}
	defer l.close()
	d, size, err = writeArchive(ctx, w, func(ctx context.Context, visit visitor) error {
		return (&merger{walker{ctx: ctx, visit: visit, marks: m, links: map[inode]string{}}}).children(l, "")
	})
	if err != nil {
		return "", 0, fmt.Errorf("archive merged trees: %w", err)
	}
	return d, size, nil
}

// merger goes through several trees as one.
type merger struct{ walker }

func (m *merger) children(l *lowers, path string) error {
	if err := context.Cause(m.ctx); err != nil {
		return err
	}
	names, err := l.names()
	if err != nil {
		return entryError(path, err)
	}
	for _, name := range names {
		if err := m.child(l, path, name); err != nil {
			return entryError(join(path, name), err)
		}
	}
	return nil
}

// names lists what any of the directories has, whiteouts too, sorted.
func (l *lowers) names() ([]string, error) {
	var all []string
	for _, fd := range l.fds {
		some, err := readNames(fd)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(l.fds) > 1 {
		slices.SortFunc(all, strings.Compare)
		all = slices.Compact(all)
	}
	return all, nil
}

func (m *merger) child(l *lowers, path, name string) error {
	h, err := l.find(name)
	defer h.below.close()
	switch {
	case err != nil || !h.there:
		return err
	case !h.isDir():
		return m.entry(h.dir, path, item{name, name})
	}
	e := &Entry{Path: join(path, name), Kind: Dir, Mode: h.st.Mode & 0o7777, UID: h.st.Uid, GID: h.st.Gid, MTime: h.st.Mtim.Sec}
	if err := m.check(e, name); err != nil {
		return err
	}
	if e.xattrs, err = keptXattrs(h.below.fds[0], true); err != nil {
		return err
	}
	if err := m.visit(e, nil); err != nil {
		return err
	}
	return m.children(h.below, e.Path)
}
