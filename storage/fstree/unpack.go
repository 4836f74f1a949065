package fstree

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Limits bound what one archive may ask for. A zero field takes its default.
type Limits struct {
	Entries int64 // number of entries; 1,000,000
	Bytes   int64 // of the tar, and sum of the file sizes with their holes; 16 GiB
	Ratio   int64 // what Bytes may be for each byte of the archive as read, once it is more than 64 MiB; 200
	Name    int   // bytes of one path component; 255
	Path    int   // bytes of a path or a link's target; 4095
	Xattr   int   // bytes of one extended attribute; 64 KiB
}

// ratioFree is what may be unpacked whatever the ratio: a small archive of zeros harms nobody.
const ratioFree = 64 << 20

func (l Limits) withDefaults() Limits {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Entries, 1_000_000)
	set(&l.Bytes, 16<<30)
	set(&l.Ratio, 200)
	for v, d := range map[*int]int{&l.Name: 255, &l.Path: unix.PathMax - 1, &l.Xattr: 64 << 10} {
		if *v == 0 {
			*v = d
		}
	}
	return l
}

// UnpackOptions say what is unpacked.
type UnpackOptions struct {
	Limits Limits
	// Layer takes the archive for an OCI layer: its whiteouts remove what earlier layers left in the directory. Without
	// it the archive is a whole root file system, and an entry that looks like a whiteout is refused.
	Layer bool
	// Marks, with Layer, takes the archive for a layer in its canonical form, for a directory of its own below which
	// nothing lies: whiteouts become marks, and directories get the time the archive gives them all. Whether it was
	// canonical, Digest tells.
	Marks bool
}

// Unpacked is what an archive was.
type Unpacked struct {
	Digest  digest.Digest // of the archive as read
	Size    int64         // its bytes
	DiffID  digest.Digest // of the uncompressed tar, of a layer only: others need not pay for it
	Entries int64
	Bytes   int64 // sum of the file sizes
	Newest  int64 // latest modification time of an entry that is no directory, seconds since the epoch; 0 without one
}

// Unpack fills the directory dir, which must be empty but for earlier layers, from a tar archive: plain, or compressed
// with gzip, zstd or xz, told apart by content. It is for archives that nobody vouches for.
//
// Every path is resolved inside dir, links too, absolute ones from dir. Refused with an EntryError are absolute names,
// "..", hard links to what is not there, device files outside dev (in dev they are left out, since containers get
// theirs made), unknown entry types, and what exceeds the limits; input that is cut short or goes on after its end is
// an error. Of two entries with one path the last counts. FIFOs, set-id bits, sparse files, any bytes in names and the
// kept extended attributes are taken over. Missing parents are made 0755 and owned by 0:0. Times of directories are
// left to Normalise.
//
// After an error dir holds a part of the archive, for the caller to remove.
func Unpack(ctx context.Context, dir string, r io.Reader, opts UnpackOptions) (*Unpacked, error) {
	root, err := openTree(dir)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	defer unix.Close(root)
	u := &unpacker{limits: opts.Limits.withDefaults(), raw: sha256.New()}
	g, ctx := errgroup.WithContext(ctx)
	u.tree = newExtractor(ctx, root, opts.Layer)
	if opts.Marks {
		u.tree.marks = new(newMarks(false))
	}
	defer u.tree.close()
	u.archive = newStream(ctx, 2)
	g.Go(func() error { return u.archive.run(r) })
	g.Go(func() error { return hashAll(u.archive.readers[0], u.raw) })
	for range writers {
		g.Go(u.tree.write)
	}
	g.Go(func() error {
		defer u.tree.finish()
		if err := u.open(ctx, g, u.archive.readers[1]); err != nil {
			return err
		}
		return u.tree.setDefaults()
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if opts.Marks {
		if err := settleDirs(root, u.dirTime); err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
	}
	u.sum.Digest, u.sum.Size = digest.NewDigest(digest.SHA256, u.raw), u.archive.read.Load()
	switch {
	case u.plain != nil:
		u.sum.DiffID = digest.NewDigest(digest.SHA256, u.plain)
	case opts.Layer:
		u.sum.DiffID = u.sum.Digest
	}
	return &u.sum, nil
}

// unpacker reads an archive and tells an extractor what to make.
type unpacker struct {
	limits  Limits
	archive *stream   // as given
	raw     hash.Hash // of the archive as given
	plain   hash.Hash // of the tar of a layer, when it is compressed
	tree    *extractor
	stream  int64 // bytes of the tar read so far
	dirTime int64 // of the directories
	sum     Unpacked
}

func hashAll(r *streamReader, h hash.Hash) error {
	return r.copyTo(func(b []byte) error {
		h.Write(b)
		return nil
	})
}

// open finds the compression and reads the tar below it.
func (u *unpacker) open(ctx context.Context, g *errgroup.Group, r *streamReader) error {
	magic, err := r.peek(magicSize)
	if err != nil {
		return err
	}
	z, err := decompressor(magic, r)
	if err != nil {
		return err
	}
	if z == nil {
		return u.entries(r)
	}
	s := newStream(ctx, 1)
	if u.tree.layer {
		s, u.plain = newStream(ctx, 2), sha256.New()
		g.Go(func() error { return hashAll(s.readers[1], u.plain) })
	}
	g.Go(func() error {
		err := s.run(z)
		return errors.Join(err, z.Close())
	})
	return u.entries(s.readers[0])
}

// entries reads the tar to its end and on to the end of the stream, where only zeros may follow.
func (u *unpacker) entries(r *streamReader) error {
	in := &blocks{u: u, r: r}
	t := tar.NewReader(in)
	for {
		in.zero = false
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return badTar(err)
		}
		if err := u.entry(h, t); err != nil {
			return entryError(h.Name, err)
		}
	}
	if !in.zero {
		return badTar(io.ErrUnexpectedEOF)
	}
	return r.copyTo(func(b []byte) error {
		if !allZero(b) {
			return errors.New("read tar: there is data after the end of the archive")
		}
		return u.count(&u.stream, len(b))
	})
}

// count adds to what was unpacked and stops a bomb, before it fills the disk or takes for ever.
func (u *unpacker) count(sum *int64, n int) error {
	*sum += int64(n)
	if *sum > u.limits.Bytes {
		return fmt.Errorf("the archive unpacks to more than %d bytes", u.limits.Bytes)
	}
	if *sum > ratioFree && *sum/u.limits.Ratio > u.archive.read.Load() {
		return fmt.Errorf("the archive unpacks to more than %d times its size", u.limits.Ratio)
	}
	return nil
}

func badTar(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read tar: the archive is cut short: %w", err)
	}
	return fmt.Errorf("read tar: %w", err)
}

// blocks counts the bytes of the tar, of headers too, and remembers whether a block of zeros was read: archive/tar takes
// a stream that just stops for a complete one.
type blocks struct {
	u    *unpacker
	r    *streamReader
	zero bool
}

const blockSize = 512

var zeroBlock [blockSize]byte

func (b *blocks) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n == blockSize && [blockSize]byte(p[:n]) == zeroBlock {
		b.zero = true
	}
	if bomb := b.u.count(&b.u.stream, n); bomb != nil {
		return n, bomb
	}
	return n, err
}

// entry checks one entry and makes it.
func (u *unpacker) entry(h *tar.Header, data io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // defaults for entries that follow; only comments are in use
		return nil
	}
	if u.sum.Entries++; u.sum.Entries > u.limits.Entries {
		return fmt.Errorf("more than %d entries", u.limits.Entries)
	}
	name, err := u.cleanName(h.Name)
	if err != nil {
		return err
	}
	m, err := u.meta(h)
	if err != nil {
		return err
	}
	typeflag := h.Typeflag
	if (typeflag == tar.TypeReg || typeflag == tar.TypeCont) && strings.HasSuffix(h.Name, "/") && h.Size == 0 {
		typeflag = tar.TypeDir // as GNU tar reads it
	}
	if name == "" {
		if typeflag != tar.TypeDir {
			return errors.New("the root must be a directory")
		}
		return nil
	}
	if handled, err := u.special(name, typeflag); handled || err != nil {
		return err
	}
	if typeflag == tar.TypeDir {
		u.dirTime = m.mtime
	} else if m.mtime > u.sum.Newest {
		u.sum.Newest = m.mtime
	}
	return u.create(name, typeflag, m, h, data)
}

// special deals with whiteouts and devices.
func (u *unpacker) special(name string, typeflag byte) (handled bool, err error) {
	dir, base := path.Split(name)
	switch {
	case strings.HasPrefix(base, whiteoutPrefix) && u.tree.marks != nil:
		return true, u.tree.mark(strings.TrimSuffix(dir, "/"), base)
	case strings.HasPrefix(base, whiteoutPrefix) && u.tree.layer:
		return true, u.tree.whiteout(strings.TrimSuffix(dir, "/"), base)
	case strings.Contains("/"+name, "/"+whiteoutPrefix):
		return true, fmt.Errorf("names that begin with %q mean a removed file in a layer and cannot be kept", whiteoutPrefix)
	case typeflag != tar.TypeChar && typeflag != tar.TypeBlock:
		return false, nil
	case strings.HasPrefix(name, "dev/"):
		return true, nil
	default:
		return true, errors.New("device files are not admitted")
	}
}

func (u *unpacker) create(name string, typeflag byte, m meta, h *tar.Header, data io.Reader) error {
	switch typeflag {
	case tar.TypeDir:
		return u.tree.mkdir(name, m)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		if err := u.charge(h.Size); err != nil {
			return err
		}
		return u.tree.file(name, m, h.Size, &content{u, data}, sparse(h))
	case tar.TypeSymlink:
		if err := u.checkTarget(h.Linkname); err != nil {
			return err
		}
		return u.tree.symlink(name, h.Linkname, m)
	case tar.TypeLink:
		target, err := u.cleanName(strings.TrimLeft(h.Linkname, "/"))
		if err != nil {
			return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
		}
		return u.tree.link(name, target)
	case tar.TypeFifo:
		return u.tree.fifo(name, m)
	default:
		return fmt.Errorf("unknown entry type %q", typeflag)
	}
}

// cleanName returns a path below the root, "" for the root itself.
func (u *unpacker) cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case strings.HasPrefix(name, "/"):
		return "", errors.New("the name is absolute")
	case strings.ContainsRune(name, 0):
		return "", errors.New("the name holds a NUL byte")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`the name holds ".."`)
		}
		if len(part) > u.limits.Name {
			return "", fmt.Errorf("a part of the name is longer than %d bytes", u.limits.Name)
		}
	}
	if name = path.Clean(name); name == "." {
		return "", nil
	}
	if len(name) > u.limits.Path {
		return "", fmt.Errorf("the name is longer than %d bytes", u.limits.Path)
	}
	return name, nil
}

func (u *unpacker) checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("symbolic link to nothing")
	case len(target) > u.limits.Path:
		return fmt.Errorf("the link's target is longer than %d bytes", u.limits.Path)
	case strings.ContainsRune(target, 0):
		return errors.New("the link's target holds a NUL byte")
	}
	return nil
}

func (u *unpacker) meta(h *tar.Header) (meta, error) {
	const maxID = 1<<32 - 2
	if h.Uid < 0 || h.Gid < 0 || h.Uid > maxID || h.Gid > maxID {
		return meta{}, fmt.Errorf("owner %d:%d is no user and group", h.Uid, h.Gid)
	}
	m := meta{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, mtime: clampTime(h.ModTime.Unix())}
	for key, value := range h.PAXRecords {
		x, err := u.xattr(key, value, h.Typeflag == tar.TypeDir)
		if err != nil {
			return meta{}, err
		}
		if x.name != "" && !slices.ContainsFunc(m.xattrs, func(have xattr) bool { return have.name == x.name }) {
			m.xattrs = append(m.xattrs, x)
		}
	}
	return m, nil
}

// xattr reads the attribute that a record of the header is about; most are about none.
func (u *unpacker) xattr(key, value string, dir bool) (xattr, error) {
	name, ok := strings.CutPrefix(key, paxXattr)
	var err error
	switch key {
	case "SCHILY.acl.access":
		name, ok = aclAccess, true
		value, err = parseACL(value)
	case "SCHILY.acl.default":
		name, ok = aclDefault, true
		value, err = parseACL(value)
	}
	if err != nil || !ok || !kept(name, dir) {
		return xattr{}, err
	}
	if len(name) > 255 || len(value) > u.limits.Xattr {
		return xattr{}, fmt.Errorf("extended attribute %.40q is larger than %d bytes", name, u.limits.Xattr)
	}
	value, err = canonicalXattr(name, value)
	return xattr{name, value}, err
}

// clampTime keeps a time within what an ustar header can hold.
func clampTime(seconds int64) int64 { return min(max(seconds, 0), 1<<33-1) }

func (u *unpacker) charge(size int64) error {
	if size > u.limits.Bytes-u.sum.Bytes {
		return fmt.Errorf("the archive unpacks to more than %d bytes", u.limits.Bytes)
	}
	return nil
}

func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// content counts the bytes of files, which are more than those of the tar where it leaves out holes.
type content struct {
	u    *unpacker
	data io.Reader
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if bomb := c.u.count(&c.u.sum.Bytes, n); bomb != nil {
		return n, bomb
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = badTar(err)
	}
	return n, err
}
