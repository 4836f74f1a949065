package fstree

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// NormaliseOptions say against what and how a tree is normalised.
type NormaliseOptions struct {
	Epoch  int64    // SOURCE_DATE_EPOCH: no time in the tree is later
	Lowers []string // for the upper directory of an overlay: the trees below it, top first
	Policy Policy
	Fuse   bool // the upper was written through fuse-overlayfs, which has marks of its own
	// Unpacked is a tree just as Unpack made it, none of whose times is later than Epoch. What is no directory is then
	// normal already and not looked at, but where the policy speaks of it.
	Unpacked bool
}

// Normalise turns a tree, in place, into the layer it stands for. Afterwards Digest gives the same for it wherever and
// whenever the same was done in it, and doing it again changes nothing.
//
// Whiteouts and opaque marks stay only where a lower tree has the name, or something in the directory; what equals its
// counterpart below in type, mode, owner, kept attributes and content goes, and so do directories that say nothing,
// sockets, what the policy drops, and extended attributes that are not kept. Rewritten files, whiteouts and directories
// get the time Epoch; others keep theirs, in whole seconds, up to Epoch. Device files, traces of redirect_dir and
// metacopy, and names that begin with ".wh." (but under fuse-overlayfs, which makes them) are errors.
//
// The root becomes 0755, owned by 0:0. After an error the tree is neither what it was nor a layer.
func Normalise(ctx context.Context, dir string, opts NormaliseOptions) error {
	n := &normaliser{ctx: ctx, opts: &opts, marks: newMarks(opts.Fuse)}
	if err := n.run(dir); err != nil {
		return fmt.Errorf("normalise tree %s: %w", dir, err)
	}
	return nil
}

type normaliser struct {
	ctx    context.Context
	opts   *NormaliseOptions
	marks  marks
	counts bool // the links of a directory are two, and one for each directory in it
}

func (n *normaliser) run(dir string) error {
	if n.opts.Epoch < 0 || n.opts.Epoch > maxOctal {
		return fmt.Errorf("SOURCE_DATE_EPOCH %d is out of range", n.opts.Epoch)
	}
	low, err := openLowers(&n.marks, n.opts.Lowers)
	if err != nil {
		return err
	}
	defer low.close()
	fd, err := openTree(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n.counts = countsDirs(fd)
	if _, err := n.children(fd, "", low, n.opts.Policy.rules()); err != nil {
		return err
	}
	if err := n.root(fd); err != nil {
		return entryError("/", err)
	}
	return nil
}

func (n *normaliser) root(fd int) error {
	if err := setXattrs(fd, true, nil); err != nil {
		return err
	}
	if err := n.marks.clean(fd, true, false); err != nil {
		return err
	}
	if err := unix.Fchown(fd, 0, 0); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o755); err != nil {
		return err
	}
	return setMtime(fd, ".", n.opts.Epoch)
}

// spot is one entry while it is looked at.
type spot struct {
	dir     int
	name    string
	path    string
	st      unix.Stat_t
	below   *hidden
	actions []int
	rules   []rule // for what lies in it, when it is a directory
}

// children normalises what is in an open directory and returns how many entries stay.
func (n *normaliser) children(fd int, path string, low *lowers, rules []rule) (left int, err error) {
	if err := context.Cause(n.ctx); err != nil {
		return 0, err
	}
	if n.marks.fuse {
		if err := n.fuseMarks(fd); err != nil {
			return 0, entryError(path, err)
		}
	}
	entries, err := readDir(fd)
	if err != nil {
		return 0, entryError(path, err)
	}
	all := make([]outcome, len(entries))
	if !n.opts.Unpacked {
		eachOf(len(entries), lookers, func(i int) {
			if entries[i].leaf {
				all[i] = n.dirent(fd, path, entries[i], low, rules, true)
			}
		})
	}
	for i, e := range entries {
		o := all[i]
		if !o.settled {
			o = n.dirent(fd, path, e, low, rules, false)
		}
		if o.err != nil {
			return 0, entryError(join(path, e.name), o.err)
		}
		if o.stays {
			left++
		}
	}
	return left, nil
}

// outcome is what became of an entry.
type outcome struct {
	settled, stays bool
	err            error
}

// dirent normalises an entry of an open directory. Early, beside others, it leaves alone what depends on the order in
// which names are looked at: what has several, since what becomes of one depends on how many there still are, and what the
// policy speaks of.
func (n *normaliser) dirent(fd int, path string, e dirent, low *lowers, rules []rule, early bool) (o outcome) {
	s := &spot{dir: fd, name: e.name, path: join(path, e.name)}
	s.actions, s.rules = step(rules, e.name)
	o.settled = true
	if n.opts.Unpacked && e.leaf && len(s.actions) == 0 {
		o.stays = true
		return o
	}
	if early && len(s.actions) > 0 {
		return outcome{}
	}
	if s.st, o.err = lstatat(fd, e.name); o.err != nil {
		return o
	}
	if early && (isDir(&s.st) || s.st.Nlink > 1) {
		return outcome{}
	}
	o.stays, o.err = n.entry(s, low)
	return o
}

// entry normalises one entry. If it does not stay, it is gone from the disk.
func (n *normaliser) entry(s *spot, low *lowers) (stays bool, err error) {
	if strings.HasPrefix(s.name, whiteoutPrefix) {
		return false, fmt.Errorf("a name that begins with %q means a removed file in a layer and cannot be kept", whiteoutPrefix)
	}
	if s.does(actionDrop) || fileType(&s.st) == unix.S_IFSOCK {
		return false, removeAt(s.dir, s.name)
	}
	s.below, err = low.find(s.name)
	defer s.below.below.close()
	if err != nil {
		return false, err
	}
	if stays, err = n.byType(s); err != nil || stays {
		return stays, err
	}
	return false, removeAt(s.dir, s.name)
}

func (s *spot) does(action int) bool {
	for _, a := range s.actions {
		if a == action {
			return true
		}
	}
	return false
}

func (n *normaliser) byType(s *spot) (stays bool, err error) {
	switch fileType(&s.st) {
	case unix.S_IFDIR:
		return n.directory(s)
	case unix.S_IFREG:
		return n.file(s)
	case unix.S_IFLNK, unix.S_IFIFO:
		if same, err := s.below.sameFile(s.dir, &s.st); err != nil || same {
			return false, err
		}
		return true, n.settleTime(s)
	default:
		if !isWhiteout(&s.st) {
			return false, errors.New("device files cannot be kept")
		}
		if !s.below.there {
			return false, nil
		}
		return true, setMtime(s.dir, s.name, n.opts.Epoch)
	}
}

// settleTime clamps the time of what is no directory.
func (n *normaliser) settleTime(s *spot) error {
	want := min(max(s.st.Mtim.Sec, 0), n.opts.Epoch)
	if s.st.Mtim.Sec == want && s.st.Mtim.Nsec == 0 {
		return nil
	}
	return setMtime(s.dir, s.name, want)
}

func (n *normaliser) directory(s *spot) (stays bool, err error) {
	if n.opts.Unpacked && n.counts && s.st.Nlink == 2 && len(s.actions)+len(s.rules) == 0 {
		return true, setMtime(s.dir, s.name, n.opts.Epoch) // there is nothing in it but what is normal already
	}
	fd, err := openDir(s.dir, s.name)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	opaque, err := n.isOpaque(fd)
	if err != nil {
		return false, err
	}
	merged := s.below.below
	if opaque || !s.below.isDir() {
		merged = &lowers{marks: &n.marks}
	}
	left, err := n.children(fd, s.path, merged, s.rules)
	if err != nil {
		return false, err
	}
	if opaque && s.below.isDir() {
		empty, err := s.below.below.empty()
		if err != nil {
			return false, err
		}
		opaque = !empty
	} else {
		opaque = false
	}
	if err := n.marks.clean(fd, true, opaque); err != nil {
		return false, err
	}
	if left == 0 && !opaque {
		if s.does(actionDropEmpty) {
			return false, nil
		}
		if same, err := s.below.sameDir(fd, &s.st); err != nil || same {
			return false, err
		}
	}
	return true, setMtime(s.dir, s.name, n.opts.Epoch)
}

func (n *normaliser) isOpaque(fd int) (bool, error) {
	opaque, err := n.marks.isOpaque(fd)
	if err != nil || opaque || !n.marks.fuse {
		return opaque, err
	}
	_, err = lstatat(fd, opaqueName)
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil, err
}

// fuseMarks turns the whiteouts that fuse-overlayfs writes where it may not make devices into the kernel's.
func (n *normaliser) fuseMarks(fd int) error {
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		hides, ok := strings.CutPrefix(name, whiteoutPrefix)
		if !ok {
			continue
		}
		if err := removeAt(fd, name); err != nil {
			return err
		}
		if name == opaqueName || hides == "" {
			continue
		}
		if err := unix.Mknodat(fd, hides, unix.S_IFCHR, 0); err != nil && err != unix.EEXIST {
			return fmt.Errorf("make whiteout of %q: %w", hides, err)
		}
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	return err
}
