// Package squashfs makes a tar archive of a squashfs image, for an unpacker that takes hostile archives.
//
// The format is version 4.0, as the kernel's documentation (Documentation/filesystems/squashfs.rst) and squashfs-tools
// have it, compressed with gzip, xz or zstd. Owners, modes, times, extended attributes and hard links are kept; sockets
// and the export table are not read. The image is read with random access and the tar written as a stream: what is
// in memory is bounded whatever the image says, but for the table of owners (256 KiB), one number for each directory,
// and one path for each file with several names. Every reference is checked, and no directory is entered twice, so that
// every walk ends.
package squashfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	maxBlock = 1 << 20 // bytes of a data block or fragment
	maxDepth = 2048    // directories in each other: a path has at most 4096 bytes
	maxRatio = 200     // bytes of files for each byte of the image
	freeSize = 64 << 20
	noIndex  = math.MaxUint32 // no fragment, no extended attributes
	noTable  = math.MaxUint64
)

// Magic begins an image.
const Magic = "hsqs"

var errRange = errors.New("the image is damaged: something in it lies outside of it")

// superblock is the first 96 bytes, little endian.
type superblock struct {
	Magic                                                [4]byte
	Inodes, ModTime, BlockSize, Fragments                uint32
	Compressor, BlockLog, Flags, IDs                     uint16
	Major, Minor                                         uint16
	Root, Used                                           uint64
	IDTable, XattrTable, InodeTable, DirTable, FragTable uint64
	ExportTable                                          uint64
}

// image is an open image.
type image struct {
	r         io.ReaderAt
	size      int64
	super     superblock
	blocks    *decompressor
	meta      map[uint64]*metaBlock
	fragments map[uint32][]byte
	ids       []uint32
	xattrs    xattrTable
}

// WriteTar writes the tree of the image in the first size bytes of r to w, in the order of its directories, without an
// entry for the root.
func WriteTar(ctx context.Context, w io.Writer, r io.ReaderAt, size int64) error {
	m, err := open(r, size)
	if err != nil {
		return fmt.Errorf("read squashfs: %w", err)
	}
	defer m.blocks.close()
	t := &walker{image: m, ctx: ctx, out: tar.NewWriter(w), entered: map[uint64]bool{}, names: map[uint64]string{}}
	root, err := m.inode(m.super.Root)
	if err == nil && root.kind != kindDir {
		err = errors.New("its root is no directory")
	}
	if err == nil {
		err = t.dir(m.super.Root, root, "", 0)
	}
	if err == nil {
		err = t.out.Close()
	}
	if err != nil {
		return fmt.Errorf("read squashfs: %w", err)
	}
	return nil
}

func open(r io.ReaderAt, size int64) (*image, error) {
	m := &image{r: r, size: size, meta: map[uint64]*metaBlock{}, fragments: map[uint32][]byte{}}
	head, err := m.bytes(0, 96)
	if errors.Is(err, errRange) {
		err = errors.New("the image is cut short")
	}
	if err != nil {
		return nil, err
	}
	if err := binary.Read(bytes.NewReader(head), binary.LittleEndian, &m.super); err != nil {
		return nil, err
	}
	s := &m.super
	switch {
	case string(s.Magic[:]) != Magic:
		return nil, errors.New("it is no squashfs image")
	case s.Major != 4 || s.Minor != 0:
		return nil, fmt.Errorf("version %d.%d is not known, only 4.0", s.Major, s.Minor)
	case s.BlockSize < 4096 || s.BlockSize > maxBlock || s.BlockSize&(s.BlockSize-1) != 0:
		return nil, fmt.Errorf("%d is no size of a block", s.BlockSize)
	case s.Used > uint64(size):
		return nil, errors.New("the image is cut short")
	}
	if m.blocks, err = newDecompressor(s.Compressor); err != nil {
		return nil, err
	}
	if err := m.readIDs(); err != nil {
		m.blocks.close()
		return nil, err
	}
	if err := m.readXattrTable(); err != nil {
		m.blocks.close()
		return nil, err
	}
	return m, nil
}

// bytes reads n bytes at an offset.
func (m *image) bytes(at uint64, n int) ([]byte, error) {
	if at > uint64(m.size) || uint64(n) > uint64(m.size)-at {
		return nil, errRange
	}
	b := make([]byte, n)
	if _, err := m.r.ReadAt(b, int64(at)); err != nil && !(err == io.EOF && int64(at)+int64(n) == m.size) {
		return nil, err
	}
	return b, nil
}

// entry reads an entry of size bytes of a table whose metadata blocks are listed at list.
func (m *image) entry(list uint64, index uint64, size int) ([]byte, error) {
	perBlock := uint64(metaSize / size)
	where, err := m.bytes(list+index/perBlock*8, 8)
	if err != nil || list+index/perBlock*8 < list {
		return nil, errRange
	}
	c := cursor{m: m, block: binary.LittleEndian.Uint64(where), offset: int(index%perBlock) * size}
	return c.read(size)
}

func (m *image) readIDs() error {
	n := uint64(m.super.IDs)
	for i := range n {
		b, err := m.entry(m.super.IDTable, i, 4)
		if err != nil {
			return fmt.Errorf("table of owners: %w", err)
		}
		m.ids = append(m.ids, binary.LittleEndian.Uint32(b))
	}
	return nil
}

func (m *image) id(index uint16) (int, error) {
	if int(index) >= len(m.ids) {
		return 0, errRange
	}
	return int(m.ids[index]), nil
}

// block reads and decompresses a data block or fragment. Bit 24 of its size says that it is not compressed.
func (m *image) block(at uint64, size uint32) ([]byte, error) {
	const plain = 1 << 24
	n := size &^ plain
	if n == 0 || n > m.super.BlockSize {
		return nil, errRange
	}
	b, err := m.bytes(at, int(n))
	if err != nil || size&plain != 0 {
		return b, err
	}
	return m.blocks.run(b, int(m.super.BlockSize))
}

// keptFragments bounds the fragments in memory: neighbours in a directory mostly share one.
const keptFragments = 4

func (m *image) fragment(index uint32) ([]byte, error) {
	if b, ok := m.fragments[index]; ok {
		return b, nil
	}
	if index >= m.super.Fragments {
		return nil, errRange
	}
	e, err := m.entry(m.super.FragTable, uint64(index), 16)
	if err != nil {
		return nil, err
	}
	b, err := m.block(binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint32(e[8:]))
	if err != nil {
		return nil, err
	}
	if len(m.fragments) == keptFragments {
		clear(m.fragments)
	}
	m.fragments[index] = b
	return b, nil
}
