package squashfs

import (
	"encoding/binary"
	"fmt"
)

// The kinds of inodes; the extended form of each is 7 more.
const (
	kindDir = iota + 1
	kindFile
	kindSymlink
	kindBlock
	kindChar
	kindFifo
	kindSocket
	extended = 7
)

const maxTarget = 4096 // bytes of a symbolic link's target

// inode is a file of any kind.
type inode struct {
	kind     int
	mode     uint16
	uid, gid int
	mtime    uint32
	links    uint32
	xattr    uint32

	// of directories: where the listing begins in its table, and its length in bytes
	listing uint64
	length  uint32
	// of files: where the blocks are, their sizes, and what remains in a fragment
	start    uint64
	size     uint64
	fragment uint32
	within   uint32
	sizes    cursor

	target string
	device uint32
}

// inode reads the one that a reference names.
func (m *image) inode(reference uint64) (*inode, error) {
	c, err := m.at(m.super.InodeTable, reference)
	if err != nil {
		return nil, err
	}
	b, err := c.read(16)
	if err != nil {
		return nil, err
	}
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	i := &inode{kind: int(u16(0)), mode: u16(2), mtime: binary.LittleEndian.Uint32(b[8:]), links: 1, xattr: noIndex}
	if i.uid, err = m.id(u16(4)); err != nil {
		return nil, err
	}
	if i.gid, err = m.id(u16(6)); err != nil {
		return nil, err
	}
	isExtended := i.kind > kindSocket
	if isExtended {
		i.kind -= extended
	}
	switch i.kind {
	case kindDir:
		err = i.readDir(&c, isExtended)
	case kindFile:
		err = i.readFile(&c, isExtended)
	case kindSymlink:
		err = i.readSymlink(&c, isExtended)
	case kindBlock, kindChar, kindFifo, kindSocket:
		err = i.readSpecial(&c, isExtended)
	default:
		err = fmt.Errorf("an inode of the unknown kind %d", u16(0))
	}
	return i, err
}

func (i *inode) readDir(c *cursor, isExtended bool) error {
	if !isExtended {
		v, err := c.uint32s(4) // block, links, size and offset, parent
		if err != nil {
			return err
		}
		i.listing, i.length = uint64(v[0])<<16|uint64(v[2]>>16), v[2]&0xffff
		return nil
	}
	v, err := c.uint32s(6) // links, size, block, parent, number of index entries and offset, attributes
	if err != nil {
		return err
	}
	i.listing, i.length, i.xattr = uint64(v[2])<<16|uint64(v[4]>>16), v[1], v[5]
	return nil
}

func (i *inode) readFile(c *cursor, isExtended bool) error {
	if !isExtended {
		v, err := c.uint32s(4) // start, fragment, offset in it, size
		if err != nil {
			return err
		}
		i.start, i.fragment, i.within, i.size, i.sizes = uint64(v[0]), v[1], v[2], uint64(v[3]), *c
		return nil
	}
	v, err := c.uint32s(10) // start, size, bytes in holes: two each; links, fragment, offset in it, attributes
	if err != nil {
		return err
	}
	wide := func(at int) uint64 { return uint64(v[at]) | uint64(v[at+1])<<32 }
	i.start, i.size, i.links, i.fragment, i.within, i.xattr, i.sizes = wide(0), wide(2), v[6], v[7], v[8], v[9], *c
	return nil
}

func (i *inode) readSymlink(c *cursor, isExtended bool) error {
	v, err := c.uint32s(2) // links, length
	if err != nil {
		return err
	}
	if v[1] > maxTarget {
		return fmt.Errorf("a symbolic link to %d bytes", v[1])
	}
	target, err := c.read(int(v[1]))
	if err != nil {
		return err
	}
	i.target = string(target)
	return i.readAttribute(c, isExtended)
}

func (i *inode) readSpecial(c *cursor, isExtended bool) error {
	n := 1 // links
	if i.kind == kindBlock || i.kind == kindChar {
		n = 2 // and the device
	}
	v, err := c.uint32s(n)
	if err != nil {
		return err
	}
	i.device = v[n-1]
	return i.readAttribute(c, isExtended)
}

func (i *inode) readAttribute(c *cursor, isExtended bool) error {
	if !isExtended {
		return nil
	}
	v, err := c.uint32s(1)
	if err == nil {
		i.xattr = v[0]
	}
	return err
}

// list calls f for each name in a directory.
func (m *image) list(i *inode, f func(name string, reference uint64) error) error {
	if i.length <= 3 { // "." and ".." count, and are not there
		return nil
	}
	c, err := m.at(m.super.DirTable, i.listing)
	if err != nil {
		return err
	}
	for left := int64(i.length) - 3; left > 0; {
		head, err := c.uint32s(3) // names less one, block of the inodes, number of the first
		if err != nil {
			return err
		}
		left -= 12
		if head[0] >= 256 {
			return errRange
		}
		for range head[0] + 1 {
			b, err := c.read(8)
			if err != nil {
				return err
			}
			name, err := c.read(int(binary.LittleEndian.Uint16(b[6:])) + 1)
			if err != nil {
				return err
			}
			if left -= 8 + int64(len(name)); left < 0 {
				return errRange
			}
			if err := f(string(name), uint64(head[1])<<16|uint64(binary.LittleEndian.Uint16(b))); err != nil {
				return err
			}
		}
	}
	return nil
}
