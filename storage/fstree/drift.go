package fstree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Change is a path in which one stack of directories shows something else than another.
type Change struct {
	Path string // below the root, without a leading slash; empty is the root itself
	Op   Op
	Kind string // of what is there now, or of what was and is gone: see kindOf, or "hardlink"
	Size int64  // bytes of a file; 0 for anything else
	Link string // of a "hardlink": the path told before that is the same file

	What    []string // of Modified, in which: "type", "content", "link", "device", "mode", "owner", "xattr"
	OldKind string   // of Modified: what was there
	OldSize int64
}

// Op is what became of a path.
type Op byte

// The values of Op.
const (
	Added    Op = '+'
	Modified Op = '~'
	Removed  Op = '-'
)

// Stacks are what Drift compares: directories as an overlay merges them, top first. A directory at the bottom of both
// is not looked into where none above it has anything.
type Stacks struct {
	Now []string
	Was []string
	// Aside is what was there, too, but stands for nothing: in what something is now as it is in there it has not
	// changed, and that it is missing is no change either.
	Aside []string
}

// Drift tells in the order of the paths, parents first, what is otherwise in s.Now than in s.Was. That something was
// written or touched is no change; being other bytes is. Contents are read where size and time leave it open: never of
// what was added or removed, and not when the size differs.
//
// The trees may change meanwhile: what vanishes while it is looked at counts as gone, and each path is told as it was at
// some moment. Links are not followed. each must not keep the Change; its error ends the walk and is returned as it is.
func Drift(ctx context.Context, s Stacks, each func(*Change) error) error {
	marks := newMarks(false)
	d := &drifter{ctx: ctx, each: each, links: map[inode]string{}, gone: map[inode]string{}, nothing: &hidden{below: &lowers{}}}
	stacks := [3]*lowers{}
	for i, dirs := range [3][]string{s.Now, s.Was, s.Aside} {
		l, err := openLowers(&marks, dirs)
		if err != nil {
			return fmt.Errorf("compare trees: %w", err)
		}
		defer l.close()
		stacks[i] = l
	}
	return d.root(stacks[0], stacks[1], stacks[2])
}

type drifter struct {
	ctx   context.Context
	each  func(*Change) error
	links map[inode]string // first names told of files with several
	gone  map[inode]string // the same, of what is gone

	change Change // the one that is told

	nothing *hidden // what a stack without directories has under any name
}

func (d *drifter) root(now, was, aside *lowers) error {
	s := &sight{now: &hidden{below: now}, was: &hidden{below: was}, aside: &hidden{below: aside}}
	for _, h := range []*hidden{s.now, s.was, s.aside} {
		if h.there = len(h.below.fds) > 0; !h.there {
			continue
		}
		if err := unix.Fstat(h.below.fds[0], &h.st); err != nil {
			return entryError("/", err)
		}
	}
	err := d.judge(s)
	if err == nil && len(s.what) > 0 {
		err = d.tell("", s)
	}
	if err != nil {
		return entryError("/", err)
	}
	return d.children("", now, was, aside)
}

// children compares what is in a directory, which each of the stacks may have or not.
func (d *drifter) children(path string, now, was, aside *lowers) error {
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	names, err := differing(now, was)
	if err != nil {
		return entryError(path, err)
	}
	for some := range slices.Chunk(names, ahead) {
		if err := d.some(some, path, now, was, aside); err != nil {
			return err
		}
	}
	return nil
}

const (
	ahead    = 64 // names that are looked at before they are told
	attempts = 4  // how often a name is looked at that changes all the time
)

// some compares a part of a directory: files by several goroutines, directories, of which each holds descriptors, when
// it is their turn.
func (d *drifter) some(names []dirent, path string, now, was, aside *lowers) error {
	seen := make([]*sight, len(names))
	defer func() {
		for _, s := range seen {
			s.close()
		}
	}()
	processors := lookers
	if len(now.fds) == 0 || len(was.fds) == 0 { // nothing is read
		processors = 1
	}
	eachOf(len(names), processors, func(i int) {
		if names[i].leaf {
			seen[i] = d.look(names[i].name, now, was, aside)
		}
	})
	for i, e := range names {
		for n := 0; n < attempts && (seen[i] == nil || vanished(seen[i].err)); n++ {
			seen[i].close()
			seen[i] = d.look(e.name, now, was, aside)
		}
		if err := d.entry(join(path, e.name), seen[i]); err != nil {
			return err
		}
		seen[i].close()
	}
	return nil
}

// differing lists the names that may be otherwise in two stacks: those in directories that only one of them has.
func differing(now, was *lowers) ([]dirent, error) {
	n, w := len(now.fds), len(was.fds)
	for n > 0 && w > 0 && now.trees[n-1] == was.trees[w-1] {
		n, w = n-1, w-1
	}
	var all []dirent
	for _, fd := range slices.Concat(now.fds[:n], was.fds[:w]) {
		names, err := readDir(fd)
		if errors.Is(err, unix.ENOENT) { // the directory has been removed
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	if n+w < 2 {
		return all, nil
	}
	slices.SortFunc(all, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	kept := all[:0]
	for _, e := range all {
		if last := len(kept) - 1; last >= 0 && kept[last].name == e.name {
			kept[last].leaf = kept[last].leaf && e.leaf
			continue
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// sight is what the stacks have under one name.
type sight struct {
	now, was, aside *hidden
	what            []string // in which they differ
	err             error
}

func (s *sight) close() {
	if s == nil {
		return
	}
	for _, h := range [3]*hidden{s.now, s.was, s.aside} {
		if h != nil && len(h.below.fds) > 0 {
			h.below.close()
		}
	}
}

// errVanished is what was looked at and is something else by now.
var errVanished = errors.New("it changed while it was looked at")

// entry tells what was seen, and goes on below it.
func (d *drifter) entry(path string, s *sight) error {
	switch {
	case len(path) >= unix.PathMax:
		return entryError(path, errors.New("the path is longer than 4095 bytes"))
	case vanished(s.err):
		return nil
	case s.err != nil:
		return entryError(path, s.err)
	}
	if len(s.what) > 0 {
		if err := d.tell(path, s); err != nil {
			return err
		}
	}
	if s.now.isDir() || s.was.isDir() {
		return d.children(path, s.now.below, s.was.below, s.aside.below)
	}
	return nil
}

func vanished(err error) bool {
	if err == nil {
		return false
	}
	for _, e := range []error{errVanished, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ESTALE, unix.ENXIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (d *drifter) look(name string, now, was, aside *lowers) *sight {
	s := &sight{}
	if s.now, s.err = d.find(now, name); s.err != nil {
		return s
	}
	if s.was, s.err = d.find(was, name); s.err != nil {
		return s
	}
	if s.aside, s.err = d.find(aside, name); s.err == nil {
		s.err = d.judge(s)
	}
	return s
}

func (d *drifter) find(l *lowers, name string) (*hidden, error) {
	if len(l.fds) == 0 {
		return d.nothing, nil
	}
	return l.find(name)
}

// judge finds in what there is something else now, neither what was nor what is aside.
func (d *drifter) judge(s *sight) (err error) {
	if s.what, err = d.differences(s.now, s.was); err != nil || len(s.what) == 0 || !s.now.there || !s.aside.there {
		return err
	}
	other, err := d.differences(s.now, s.aside)
	switch {
	case err != nil || slices.Equal(other, []string{"type"}):
	case len(other) == 0:
		s.what = nil
	case s.what[0] != "type":
		s.what = slices.DeleteFunc(s.what, func(w string) bool { return !slices.Contains(other, w) })
	}
	return err
}

// tell hands on what is to be said about a path.
func (d *drifter) tell(path string, s *sight) error {
	c := &d.change
	*c = Change{Path: path}
	switch {
	case !s.now.there:
		c.Op = Removed
		c.describe(&s.was.st, d.gone)
	case !s.was.there:
		c.Op = Added
		c.describe(&s.now.st, d.links)
	default:
		c.Op, c.What, c.OldKind, c.OldSize = Modified, s.what, kindOf(&s.was.st), sizeOf(&s.was.st)
		c.describe(&s.now.st, d.links)
	}
	return d.each(c)
}

// describe fills in what is there. Of a file with several names the first that is told has the size.
func (c *Change) describe(st *unix.Stat_t, links map[inode]string) {
	c.Kind, c.Size = kindOf(st), sizeOf(st)
	if fileType(st) != unix.S_IFREG || st.Nlink < 2 {
		return
	}
	id := inode{st.Dev, st.Ino}
	if first, ok := links[id]; ok {
		c.Kind, c.Size, c.Link = "hardlink", 0, first
		return
	}
	links[id] = c.Path
}

func sizeOf(st *unix.Stat_t) int64 {
	if fileType(st) == unix.S_IFREG {
		return st.Size
	}
	return 0
}

// kindOf names the type of a file.
func kindOf(st *unix.Stat_t) string {
	switch fileType(st) {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}
