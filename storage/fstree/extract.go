package fstree

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// meta is what an entry has beside its content.
type meta struct {
	mode     uint32 // 07777
	uid, gid int
	mtime    int64
	xattrs   []xattr
}

// extractor makes entries below a root directory. One goroutine calls its methods and makes all names, in the archive's
// order; the contents of files are written by others, through descriptors that later entries cannot redirect.
type extractor struct {
	ctx   context.Context
	fail  context.CancelCauseFunc
	root  int
	layer bool
	dirs  map[string]int // open parents by path
	queue chan piece
	blank chan []byte

	defaults map[string]string // access control lists that entries made later in a directory would inherit, by its path

	own    map[string]struct{} // what this layer has made; whiteouts spare it
	pruned map[inode]struct{}  // directories in which nothing else is left
	marks  *marks              // what whiteouts become; nil: they are obeyed
}

func newExtractor(ctx context.Context, root int, layer bool) *extractor {
	ctx, fail := context.WithCancelCause(ctx)
	x := &extractor{ctx: ctx, fail: fail, root: root, layer: layer, dirs: map[string]int{},
		queue: make(chan piece, pieceCount), blank: make(chan []byte, pieceCount)}
	if layer {
		x.own, x.pruned = map[string]struct{}{}, map[inode]struct{}{}
	}
	for range pieceCount {
		x.blank <- nil
	}
	return x
}

// finish tells the writers that no more comes.
func (x *extractor) finish() { close(x.queue) }

func (x *extractor) close() {
	x.fail(nil)
	x.forget()
}

// maxOpen bounds the descriptors of parents.
const maxOpen = 64

// forget closes all parents: after a directory or link was replaced, their paths may lead elsewhere.
func (x *extractor) forget() {
	for name, fd := range x.dirs {
		unix.Close(fd)
		delete(x.dirs, name)
	}
}

// parent opens the directory an entry lies in and makes it when it is missing.
func (x *extractor) parent(name string) (dir int, base string, err error) {
	up, base := path.Split(name)
	up = strings.TrimSuffix(up, "/")
	if up == "" {
		return x.root, base, nil
	}
	if fd, ok := x.dirs[up]; ok {
		return fd, base, nil
	}
	fd, err := x.resolve(up)
	if err == unix.ENOENT {
		fd, err = x.makeParents(up)
	}
	if err != nil {
		return -1, "", fmt.Errorf("open directory %q: %w", up, err)
	}
	if len(x.dirs) == maxOpen {
		x.forget()
	}
	x.dirs[up] = fd
	return fd, base, nil
}

// resolve opens a directory of the tree; links on the way resolve as if the tree were the root file system.
func (x *extractor) resolve(name string) (int, error) {
	return Openat2(x.root, name, &unix.OpenHow{Flags: openPathFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
}

func (x *extractor) makeParents(name string) (int, error) {
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if err := x.makeParent(name[:i]); err != nil {
			return -1, err
		}
	}
	return x.resolve(name)
}

func (x *extractor) makeParent(name string) error {
	fd, err := x.resolve(name)
	if err == nil {
		return unix.Close(fd)
	}
	if err != unix.ENOENT {
		return err
	}
	dir, base, err := x.parent(name)
	if err != nil {
		return err
	}
	if _, err := lstatat(dir, base); err == nil {
		return fmt.Errorf("the link %q points to nothing", name)
	}
	return x.mkdir(name, meta{mode: 0o755})
}

// replace makes the entry name in its directory and returns where. What has the name already is removed first.
func (x *extractor) replace(name string, make func(dir int, base string) error) (dir int, base string, err error) {
	if dir, base, err = x.parent(name); err != nil {
		return -1, "", err
	}
	err = again(func() error { return make(dir, base) })
	if err == unix.EEXIST {
		if dir, base, err = x.makeRoom(name, dir, base); err != nil {
			return -1, "", err
		}
		err = again(func() error { return make(dir, base) })
	}
	if err == nil {
		x.claim(name)
	}
	return dir, base, err
}

func (x *extractor) makeRoom(name string, dir int, base string) (int, string, error) {
	st, err := lstatat(dir, base)
	if err != nil {
		return -1, "", err
	}
	if err := removeAt(dir, base); err != nil {
		return -1, "", err
	}
	if t := fileType(&st); t != unix.S_IFDIR && t != unix.S_IFLNK {
		return dir, base, nil
	}
	x.forget()
	return x.parent(name)
}

// claim notes an entry, and its parents, as this layer's own.
func (x *extractor) claim(name string) {
	if !x.layer {
		return
	}
	for name != "." {
		if _, ok := x.own[name]; ok {
			return
		}
		x.own[name] = struct{}{}
		name = path.Dir(name)
	}
}

func (x *extractor) mkdir(name string, m meta) error {
	dir, base, err := x.parent(name)
	if err != nil {
		return err
	}
	st, err := lstatat(dir, base)
	there := err == nil && isDir(&st)
	if there {
		x.claim(name)
	} else if dir, base, err = x.replace(name, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o700) }); err != nil {
		return err
	}
	if err := owner(dir, base, m); err != nil {
		return err
	}
	if err := unix.Fchmodat(dir, base, m.mode, 0); err != nil { // base is a directory: no link to follow
		return err
	}
	if m.xattrs, err = x.putOff(name, m.xattrs); err != nil || !there && len(m.xattrs) == 0 {
		return err
	}
	fd, err := openDir(dir, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setXattrs(fd, true, m.xattrs)
}

func owner(dir int, base string, m meta) error {
	return ownerError(m, unix.Fchownat(dir, base, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW))
}

func ownerError(m meta, err error) error {
	if err == unix.EINVAL {
		return fmt.Errorf("owner %d:%d has no place in this user namespace: the user needs more subordinate ids (/etc/subuid, /etc/subgid)", m.uid, m.gid)
	}
	return err
}

func (x *extractor) symlink(name, target string, m meta) error {
	dir, base, err := x.replace(name, func(dir int, base string) error { return unix.Symlinkat(target, dir, base) })
	if err != nil {
		return err
	}
	if err := owner(dir, base, m); err != nil {
		return err
	}
	return setMtime(dir, base, m.mtime)
}

func (x *extractor) fifo(name string, m meta) error {
	dir, base, err := x.replace(name, func(dir int, base string) error { return unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0) })
	if err != nil {
		return err
	}
	if err := owner(dir, base, m); err != nil {
		return err
	}
	if err := unix.Fchmodat(dir, base, m.mode, 0); err != nil { // base is a FIFO: no link to follow
		return err
	}
	return setMtime(dir, base, m.mtime)
}

// link makes a hard link to an earlier entry. The last component of target is not followed.
func (x *extractor) link(name, target string) error {
	if name == target {
		return errors.New("hard link to itself")
	}
	from, err := x.existing(target)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	last := path.Base(target)
	st, err := lstatat(from, last)
	if err == nil && isDir(&st) {
		err = errors.New("it is a directory")
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	_, _, err = x.replace(name, func(dir int, base string) error { return unix.Linkat(from, last, dir, base, 0) })
	return err
}

// existing opens the directory of an entry without making anything.
func (x *extractor) existing(name string) (int, error) {
	up := path.Dir(name)
	if up == "" {
		up = "."
	}
	fd, err := x.resolve(up)
	if err != nil {
		return -1, fmt.Errorf("open directory %q: %w", up, err)
	}
	return fd, nil
}
