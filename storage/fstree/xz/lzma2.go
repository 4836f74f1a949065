package xz

import (
	"bytes"
	"encoding/binary"
	"io"
)

const (
	chunkMax  = 2 << 20 // bytes of a chunk, uncompressed
	chunkPack = 64 << 10
	slack     = 32 // bytes after a chunk that the range decoder may read before it notices
)

// input is what a block is read from.
type input interface {
	io.Reader
	io.ByteReader
}

// window is the output, and the dictionary in it.
type window struct {
	buf        []byte
	start      int // where the dictionary begins in buf; negative once that has been moved out
	dictionary int
	keep       bool // buf keeps the whole block; else it only keeps the dictionary
	limit      int  // bytes of the block, when it is kept
}

// grow appends n bytes, to be filled, and returns where they begin.
func (w *window) grow(n int) (int, error) {
	if w.keep && len(w.buf)+n > w.limit {
		return 0, damaged("a block is larger than its header says")
	}
	most := w.dictionary + max(w.dictionary/2, chunkMax)
	if !w.keep && len(w.buf)+n > most {
		moved := len(w.buf) - w.dictionary
		w.buf = append(w.buf[:0], w.buf[moved:]...)
		w.start -= moved
	}
	at := len(w.buf)
	if at+n > cap(w.buf) {
		size := max(2*cap(w.buf), at+n)
		if w.keep {
			size = min(size, w.limit)
		} else {
			size = min(size, most)
		}
		w.buf = append(make([]byte, 0, size), w.buf...)
	}
	w.buf = w.buf[:at+n]
	return at, nil
}

// lzma2 decompresses a sequence of chunks.
type lzma2 struct {
	in     input
	window window
	lzma   lzma
	packed []byte // a chunk
	ready  readiness
	whole  bytes.Reader // all chunks of a block that is decompressed beside others
	data   []byte       // what whole reads
}

// load reads the chunks of a whole block.
func (d *lzma2) load(in io.Reader, b *block) error {
	d.data = sized(d.data, b.packed)
	if _, err := io.ReadFull(in, d.data); err != nil {
		return cutShort(err)
	}
	d.whole.Reset(d.data)
	d.in, d.ready = &d.whole, needDictionary
	d.window = window{buf: sized(d.window.buf, b.size)[:0], dictionary: b.dictionary, keep: true, limit: int(b.size)}
	return nil
}

// sized returns a buffer of n bytes, b when that is large enough. A new one has some more for the next block; only what
// is written takes memory.
func sized(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}

// readiness is what a chunk must bring: the first everything, later ones less.
type readiness int

const (
	needDictionary readiness = iota
	needProperties
	needNothing
)

// chunk decompresses the next chunk to the end of the window and returns it; io.EOF is the end mark.
func (d *lzma2) chunk() ([]byte, error) {
	control, err := d.in.ReadByte()
	if err != nil {
		return nil, cutShort(err)
	}
	switch {
	case control == 0:
		return nil, io.EOF
	case control > 2 && control < 0x80:
		return nil, damaged("unknown chunk %#x", control)
	case control == 1 || control >= 0xe0:
		d.window.start = len(d.window.buf)
		d.ready = needProperties
	case d.ready == needDictionary:
		return nil, damaged("the first chunk does not reset the dictionary")
	}
	if control < 0x80 {
		return d.plain()
	}
	return d.compressed(control)
}

func (d *lzma2) plain() ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(d.in, head[:]); err != nil {
		return nil, cutShort(err)
	}
	at, err := d.window.grow(int(binary.BigEndian.Uint16(head[:])) + 1)
	if err != nil {
		return nil, err
	}
	out := d.window.buf[at:]
	_, err = io.ReadFull(d.in, out)
	return out, cutShort(err)
}

func (d *lzma2) compressed(control byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(d.in, head[:]); err != nil {
		return nil, cutShort(err)
	}
	size := int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(head[:])) + 1
	packed := int(binary.BigEndian.Uint16(head[2:])) + 1
	switch reset := control >> 5 & 3; {
	case reset >= 2:
		properties, err := d.in.ReadByte()
		if err != nil {
			return nil, cutShort(err)
		}
		if !d.lzma.setProperties(properties) {
			return nil, damaged("unknown properties %#x", properties)
		}
		d.lzma.reset()
		d.ready = needNothing
	case d.ready == needProperties:
		return nil, damaged("a chunk comes without properties")
	case reset == 1:
		d.lzma.reset()
	}
	if d.packed == nil {
		d.packed = make([]byte, chunkPack+slack)
	}
	src := d.packed[:packed+slack]
	if _, err := io.ReadFull(d.in, src[:packed]); err != nil {
		return nil, cutShort(err)
	}
	clear(src[packed:])
	at, err := d.window.grow(size)
	if err != nil {
		return nil, err
	}
	if !d.lzma.run(&d.window, at, src) {
		return nil, damaged("a chunk cannot be decompressed")
	}
	return d.window.buf[at:], nil
}

// cutShort makes an end that comes too early an error.
func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
