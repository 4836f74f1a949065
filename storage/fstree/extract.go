package fstree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	writers    = 2         // goroutines that write file contents
	pieceSize  = 128 << 10 // bytes of one write
	pieceCount = 64        // pieces that may wait to be written
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

	own    map[string]struct{} // what this layer has made; whiteouts spare it
	pruned map[inode]struct{}  // directories in which nothing else is left
}

// piece is a part of a file's content on its way to the disk.
type piece struct {
	f   *outFile
	buf []byte
	n   int
	off int64
}

// outFile is a file being written. Whoever gives up the last use gives it its owner, mode and times.
type outFile struct {
	fd   int
	name string
	size int64
	hole bool // the size must be set: the file may end in a hole
	meta meta
	uses atomic.Int32
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
func (x *extractor) resolve(name string) (fd int, err error) {
	how := &unix.OpenHow{Flags: openPathFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	err = again(func() error {
		fd, err = unix.Openat2(x.root, name, how)
		return err
	})
	return fd, err
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
	if !there && len(m.xattrs) == 0 {
		return nil
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

// file makes a regular file and hands its content to the writers. With holes, blocks of zeros are left out.
func (x *extractor) file(name string, m meta, size int64, data io.Reader, holes bool) error {
	f := &outFile{name: name, size: size, hole: holes, meta: m}
	_, _, err := x.replace(name, func(dir int, base string) (err error) {
		f.fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	f.uses.Store(1)
	err = x.content(f, data)
	// the last use carries no bytes; a writer, not this goroutine, pays for the metadata
	return cmp.Or(err, x.send(piece{f: f}))
}

func (x *extractor) content(f *outFile, data io.Reader) error {
	var off int64
	for off < f.size {
		buf, err := x.buffer()
		if err != nil {
			return err
		}
		n, err := fill(data, buf[:min(int64(len(buf)), f.size-off)])
		if err == io.EOF && off+int64(n) < f.size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			x.blank <- buf
			return err
		}
		if f.hole && allZero(buf[:n]) {
			x.blank <- buf
		} else {
			f.uses.Add(1)
			if err := x.send(piece{f, buf, n, off}); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	// a trailing read makes archive/tar check that the entry's data end here
	var one [1]byte
	if n, err := data.Read(one[:]); n != 0 || err != io.EOF {
		return cmp.Or(err, errors.New("the entry's data do not end at its size"))
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (x *extractor) buffer() ([]byte, error) {
	select {
	case b := <-x.blank:
		if b == nil {
			b = make([]byte, pieceSize)
		}
		return b, nil
	case <-x.ctx.Done():
		return nil, context.Cause(x.ctx)
	}
}

func (x *extractor) send(p piece) error {
	select {
	case x.queue <- p:
		return nil
	case <-x.ctx.Done():
		if p.f.uses.Add(-1) == 0 {
			unix.Close(p.f.fd)
		}
		return context.Cause(x.ctx)
	}
}

// write is one writer. After a failure it goes on to close the files that wait, without writing.
func (x *extractor) write() error {
	var failed error
	for p := range x.queue {
		if failed == nil {
			failed = p.write()
		}
		if p.buf != nil {
			x.blank <- p.buf
		}
		if p.f.uses.Add(-1) == 0 {
			failed = cmp.Or(failed, p.f.finish(failed == nil))
		}
		if failed != nil && x.ctx.Err() == nil {
			failed = entryError(p.f.name, failed)
			x.fail(failed)
		}
	}
	return failed
}

func (p piece) write() error {
	b, off := p.buf[:p.n], p.off
	for len(b) > 0 {
		n, err := unix.Pwrite(p.f.fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// finish closes the file after it has set, if all is well, what writing would change again.
func (f *outFile) finish(well bool) (err error) {
	if well {
		err = f.settle()
	}
	if cerr := unix.Close(f.fd); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	return err
}

func (f *outFile) settle() error {
	if f.hole {
		if err := unix.Ftruncate(f.fd, f.size); err != nil {
			return err
		}
	}
	if err := ownerError(f.meta, unix.Fchown(f.fd, f.meta.uid, f.meta.gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(f.fd, f.meta.mode); err != nil {
		return err
	}
	for _, x := range f.meta.xattrs {
		if err := unix.Fsetxattr(f.fd, x.name, []byte(x.value), 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", x.name, err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: f.meta.mtime}}
	return unix.UtimesNanoAt(f.fd, "", times, unix.AT_EMPTY_PATH)
}
