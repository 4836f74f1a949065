package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// metaSize is what a metadata block holds at most, in bytes.
const metaSize = 8192

// keptMeta bounds the metadata blocks in memory.
const keptMeta = 512

type metaBlock struct {
	data []byte
	next uint64 // where the following block begins
}

// metadata reads the metadata block at an offset of the image. A header of two bytes gives its size; bit 15 says that it
// is not compressed.
func (m *image) metadata(at uint64) (*metaBlock, error) {
	if b, ok := m.meta[at]; ok {
		return b, nil
	}
	head, err := m.bytes(at, 2)
	if err != nil {
		return nil, err
	}
	h := binary.LittleEndian.Uint16(head)
	n := int(h &^ (1 << 15))
	if n == 0 || n > metaSize {
		return nil, errors.New("a block of metadata has no possible size")
	}
	data, err := m.bytes(at+2, n)
	if err == nil && h&(1<<15) == 0 {
		data, err = m.blocks.run(data, metaSize)
	}
	if err != nil {
		return nil, err
	}
	if len(m.meta) == keptMeta {
		clear(m.meta)
	}
	b := &metaBlock{data, at + 2 + uint64(n)}
	m.meta[at] = b
	return b, nil
}

// cursor reads on through metadata blocks.
type cursor struct {
	m      *image
	block  uint64
	offset int
}

// at is a cursor for a reference into a table: a block relative to its start, and an offset in what that holds.
func (m *image) at(table, reference uint64) (cursor, error) {
	block := reference >> 16
	if table > uint64(m.size) || block > uint64(m.size) {
		return cursor{}, errRange
	}
	return cursor{m, table + block, int(reference & 0xffff)}, nil
}

func (c *cursor) read(n int) ([]byte, error) {
	out := make([]byte, 0, n)
	for n > 0 {
		b, err := c.m.metadata(c.block)
		if err != nil {
			return nil, err
		}
		if c.offset > len(b.data) || c.offset == len(b.data) && len(b.data) < metaSize {
			return nil, errRange
		}
		take := min(n-len(out), len(b.data)-c.offset)
		out = append(out, b.data[c.offset:c.offset+take]...)
		c.offset += take
		if len(out) == n {
			return out, nil
		}
		c.block, c.offset = b.next, 0
	}
	return out, nil
}

// uint32s reads n numbers.
func (c *cursor) uint32s(n int) ([]uint32, error) {
	b, err := c.read(4 * n)
	if err != nil {
		return nil, err
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out, nil
}

// xattrTable says where the extended attributes are.
type xattrTable struct {
	values uint64 // start of the metadata with names and values
	list   uint64 // list of the blocks of the index
	count  uint32
}

func (m *image) readXattrTable() error {
	if m.super.XattrTable == noTable {
		return nil
	}
	b, err := m.bytes(m.super.XattrTable, 16)
	if err != nil {
		return fmt.Errorf("table of extended attributes: %w", err)
	}
	m.xattrs = xattrTable{binary.LittleEndian.Uint64(b), m.super.XattrTable + 16, binary.LittleEndian.Uint32(b[8:])}
	return nil
}

const (
	maxXattrs     = 1024     // of one file
	maxXattrValue = 64 << 10 // bytes, as the kernel has it
)

// attributes gives the extended attributes with an index.
func (m *image) attributes(index uint32) (map[string]string, error) {
	if index == noIndex {
		return nil, nil
	}
	if index >= m.xattrs.count {
		return nil, errRange
	}
	e, err := m.entry(m.xattrs.list, uint64(index), 16)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(e[8:])
	if n > maxXattrs {
		return nil, fmt.Errorf("a file with %d extended attributes", n)
	}
	c, err := m.at(m.xattrs.values, binary.LittleEndian.Uint64(e))
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, n)
	for range n {
		name, value, err := m.attribute(&c)
		if err != nil {
			return nil, err
		}
		if name != "" {
			out[name] = value
		}
	}
	return out, nil
}

// attribute reads one name and value; the name is empty for a kind that is not known.
func (m *image) attribute(c *cursor) (name, value string, err error) {
	const elsewhere = 0x100 // the value is a reference to where it is
	b, err := c.read(4)
	if err != nil {
		return "", "", err
	}
	kind := binary.LittleEndian.Uint16(b)
	key, err := c.read(int(binary.LittleEndian.Uint16(b[2:])))
	if err != nil {
		return "", "", err
	}
	v, err := m.value(c)
	if err == nil && kind&elsewhere != 0 {
		if len(v) != 8 {
			return "", "", errRange
		}
		var there cursor
		if there, err = m.at(m.xattrs.values, binary.LittleEndian.Uint64(v)); err == nil {
			v, err = m.value(&there)
		}
	}
	prefix := map[uint16]string{0: "user.", 1: "trusted.", 2: "security."}[kind&0xff]
	if err != nil || prefix == "" {
		return "", "", err
	}
	return prefix + string(key), string(v), nil
}

func (m *image) value(c *cursor) ([]byte, error) {
	n, err := c.uint32s(1)
	if err != nil {
		return nil, err
	}
	if n[0] > maxXattrValue {
		return nil, fmt.Errorf("an extended attribute of %d bytes", n[0])
	}
	return c.read(int(n[0]))
}
