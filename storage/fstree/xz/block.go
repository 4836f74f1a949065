package xz

import (
	"bytes"
	"hash"
	"io"
)

// block is one block, from its header to its integrity check.
type block struct {
	stream     *stream
	begin      int64 // where its header begins in the input
	body       int64 // where its chunks begin
	packed     int64 // bytes of its chunks; -1 when the header does not tell
	size       int64 // bytes uncompressed, likewise
	dictionary int

	dec   *lzma2
	got   int64 // bytes uncompressed so far
	sum   hash.Hash
	check []byte        // what sum should become
	done  chan struct{} // closed when a block that is decompressed beside others is ready
	err   error
}

// piece decompresses a chunk of a block that is read as it comes; nothing means the end.
func (b *block) piece() ([]byte, error) {
	p, err := b.dec.chunk()
	if err == io.EOF {
		return nil, nil
	}
	b.got += int64(len(p))
	b.sum.Write(p)
	return p, err
}

// finish reads what follows the chunks of such a block.
func (b *block) finish(in *counter) error {
	packed := in.n - b.body
	if b.packed >= 0 && b.packed != packed || b.size >= 0 && b.size != b.got {
		return damaged("a block has another size than its header says")
	}
	b.packed, b.size = packed, b.got
	if err := b.readCheck(in); err != nil {
		return err
	}
	return b.verify()
}

// readCheck reads padding and integrity check, and notes the block for the comparison with the index.
func (b *block) readCheck(in *counter) error {
	if err := readPadding(in, b.packed); err != nil {
		return err
	}
	b.check = make([]byte, b.sum.Size())
	if _, err := io.ReadFull(in, b.check); err != nil {
		return cutShort(err)
	}
	b.stream.blocks.add(b.body-b.begin+b.packed+int64(len(b.check)), b.size)
	return nil
}

func (b *block) verify() error {
	got := b.sum.Sum(nil)
	if len(got) < 32 { // the CRCs are stored lowest byte first
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	if !bytes.Equal(got, b.check) {
		return damaged("a block has a wrong checksum")
	}
	return nil
}

// run decompresses a whole block beside others.
func (b *block) run() {
	defer close(b.done)
	for b.err == nil {
		_, b.err = b.dec.chunk()
	}
	if b.err != io.EOF {
		return
	}
	b.err = nil
	if b.dec.whole.Len() > 0 || int64(len(b.dec.window.buf)) != b.size {
		b.err = damaged("a block has another size than its header says")
		return
	}
	b.sum.Write(b.dec.window.buf)
	b.err = b.verify()
}
