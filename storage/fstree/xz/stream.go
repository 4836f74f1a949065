package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

const (
	headerMagic = "\xfd7zXZ\x00"
	footerMagic = "YZ"
	headerSize  = 12
	filterLZMA2 = 0x21
)

// counter counts what is read.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// stream is what is known of a stream while its blocks are read.
type stream struct {
	flags  [2]byte
	blocks records // as they were
}

// records sum up the blocks of a stream, or an index of them, which must be equal.
type records struct {
	count, sum int64
	hash       hash.Hash
}

func (r *records) add(unpadded, size int64) {
	r.count++
	r.sum += unpadded + size
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(unpadded))
	binary.LittleEndian.PutUint64(b[8:], uint64(size))
	r.hash.Write(b[:])
}

// readStreamHeader reads the header of the first stream, or after zeros in fours that of a further one. io.EOF means
// that there is none.
func readStreamHeader(in *counter, first bool) (*stream, error) {
	var b [headerSize]byte
	for {
		_, err := io.ReadFull(in, b[:4])
		if err == io.EOF && !first {
			return nil, io.EOF
		}
		if err != nil {
			return nil, cutShort(err)
		}
		if first || [4]byte(b[:4]) != [4]byte{} {
			break
		}
	}
	if _, err := io.ReadFull(in, b[4:]); err != nil {
		return nil, cutShort(err)
	}
	s := &stream{flags: [2]byte(b[6:8]), blocks: records{hash: sha256.New()}}
	switch {
	case string(b[:6]) != headerMagic:
		return nil, damaged("there is no stream header")
	case crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]):
		return nil, damaged("a stream header has a wrong checksum")
	case s.flags[0] != 0 || s.newCheck() == nil:
		return nil, damaged("unknown stream flags %#x", s.flags)
	}
	return s, nil
}

// newCheck returns the hash of the stream's integrity check, nil when it is unknown.
func (s *stream) newCheck() hash.Hash {
	switch s.flags[1] {
	case 0:
		return noCheck{}
	case 1:
		return crc32.NewIEEE()
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		return sha256.New()
	default:
		return nil
	}
}

// noCheck is the check of a stream without one.
type noCheck struct{}

func (noCheck) Write(p []byte) (int, error) { return len(p), nil }
func (noCheck) Sum(b []byte) []byte         { return b }
func (noCheck) Reset()                      {}
func (noCheck) Size() int                   { return 0 }
func (noCheck) BlockSize() int              { return 1 }

// readBlockHeader returns nil when the index comes instead of a block; its first byte is then read.
func (s *stream) readBlockHeader(in *counter) (*block, error) {
	begin := in.n
	size, err := in.ReadByte()
	if err != nil {
		return nil, cutShort(err)
	}
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, (int(size)+1)*4)
	b[0] = size
	if _, err := io.ReadFull(in, b[1:]); err != nil {
		return nil, cutShort(err)
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return nil, damaged("a block header has a wrong checksum")
	}
	bl := &block{stream: s, begin: begin, body: in.n, packed: -1, size: -1, sum: s.newCheck(), done: make(chan struct{})}
	return bl, bl.parse(body[1:])
}

// parse reads the fields of a block header after its size.
func (b *block) parse(fields []byte) error {
	flags := fields[0]
	if flags&0x3c != 0 {
		return damaged("unknown block flags %#x", flags)
	}
	if flags&3 != 0 {
		return damaged("filters before LZMA2 are not supported")
	}
	in := bytes.NewReader(fields[1:])
	var err error
	if flags&0x40 != 0 {
		if b.packed, err = readNumber(in); err != nil || b.packed == 0 {
			return damaged("a block header has no proper size")
		}
	}
	if flags&0x80 != 0 {
		if b.size, err = readNumber(in); err != nil {
			return damaged("a block header has no proper size")
		}
	}
	filter, err := readNumber(in)
	if err != nil || filter != filterLZMA2 {
		return damaged("filter %#x is not supported", filter)
	}
	length, err := readNumber(in)
	property, err2 := in.ReadByte()
	if err != nil || err2 != nil || length != 1 || property > 40 {
		return damaged("LZMA2 has unknown properties")
	}
	b.dictionary = dictionarySize(property)
	if b.dictionary > MaxDictionary {
		return damaged("it was compressed with a dictionary of %d MiB; at most %d are admitted", b.dictionary>>20, MaxDictionary>>20)
	}
	for in.Len() > 0 {
		if pad, _ := in.ReadByte(); pad != 0 {
			return damaged("unknown fields in a block header")
		}
	}
	return nil
}

// dictionarySize decodes the property of LZMA2: 2 or 3, times a power of two.
func dictionarySize(property byte) int {
	if property == 40 {
		return 1<<32 - 1
	}
	return (2 | int(property&1)) << (property/2 + 11)
}

// readNumber reads a variable-length integer of at most 63 bits, in its one shortest form.
func readNumber(in io.ByteReader) (v int64, err error) {
	for i := range 9 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, cutShort(err)
		}
		v |= int64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				return 0, damaged("a number is not in its shortest form")
			}
			return v, nil
		}
	}
	return 0, damaged("a number is too large")
}

// readIndex reads the rest of the index and the footer, and compares them with the blocks that were read.
func (s *stream) readIndex(in *counter) error {
	begin := in.n - 1
	sum := &summer{in: in}
	sum.add(0)
	count, err := readNumber(sum)
	if err != nil {
		return err
	}
	said := records{hash: sha256.New()}
	if count != s.blocks.count {
		return damaged("the index has another number of blocks")
	}
	for range count {
		unpadded, err := readNumber(sum)
		if err != nil {
			return err
		}
		size, err := readNumber(sum)
		if err != nil {
			return err
		}
		said.add(unpadded, size)
	}
	if said.sum != s.blocks.sum || !bytes.Equal(said.hash.Sum(nil), s.blocks.hash.Sum(nil)) {
		return damaged("the index differs from the blocks")
	}
	if err := readPadding(sum, in.n-begin); err != nil {
		return err
	}
	return s.readFooter(in, sum.crc, in.n-begin)
}

func (s *stream) readFooter(in *counter, indexSum uint32, indexSize int64) error {
	var b [4 + headerSize]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return cutShort(err)
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(b[:]) != indexSum:
		return damaged("the index has a wrong checksum")
	case string(b[14:]) != footerMagic, le.Uint32(b[4:]) != crc32.ChecksumIEEE(b[8:14]), [2]byte(b[12:14]) != s.flags:
		return damaged("the stream footer is wrong")
	case (int64(le.Uint32(b[8:]))+1)*4 != indexSize+4:
		return damaged("the stream footer gives another size of the index")
	}
	return nil
}

// readPadding reads the zeros that fill up to a multiple of four bytes.
func readPadding(in io.ByteReader, size int64) error {
	for ; size%4 != 0; size++ {
		b, err := in.ReadByte()
		if err != nil {
			return cutShort(err)
		}
		if b != 0 {
			return damaged("padding is not zero")
		}
	}
	return nil
}

// summer computes the CRC32 of single bytes as they are read.
type summer struct {
	in  io.ByteReader
	crc uint32
}

func (s *summer) add(b byte) { s.crc = crc32.Update(s.crc, crc32.IEEETable, []byte{b}) }

func (s *summer) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.add(b)
	}
	return b, err
}
