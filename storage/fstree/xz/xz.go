// Package xz decompresses the .xz format, version 1.1.0, with the filter LZMA2, which is all that archives of root file
// systems and packages use. Blocks that tell their sizes, as xz -T0 writes them, are decompressed in parallel.
//
// The input is not trusted: every checksum, size and reserved bit of the format is checked, and memory is bounded and
// grows only with what is really there.
//
// Vocabulary, from the format's description: a file is a sequence of streams; a stream a sequence of blocks and an index
// of them; a block a sequence of LZMA2 chunks, each at most 2 MiB uncompressed and 64 KiB compressed. The dictionary is
// how far back matches reach.
package xz

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
)

const (
	// MaxDictionary is the largest dictionary admitted, in bytes: twice that of xz -9.
	MaxDictionary = 128 << 20

	// parallelBlock is the largest block that is decompressed beside others, in bytes. Those of xz -6 have 24 MiB.
	parallelBlock = 32 << 20
)

// ErrFormat means that the input is damaged, or cannot be read by this package.
var ErrFormat = errors.New("xz")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Reader decompresses. It is an io.Reader; it holds nothing that needs closing.
type Reader struct {
	in      *counter
	workers int
	stream  *stream // the present one
	serial  *block  // is decompressed as it is read
	beside  []*block
	last    *block   // the one beside others that out is of
	spare   []*lzma2 // of blocks that are done, for the next: they hold large buffers
	out     []byte
	err     error // how out ends
	ended   error // how the input ended, once it has; blocks may still be on their way
}

// NewReader returns a reader of what is compressed in r, which is read to its end; anything after the last stream is an
// error. Up to workers blocks are decompressed at the same time; 0 is the number of processors, but at most 4.
func NewReader(r io.Reader, workers int) *Reader {
	if workers == 0 {
		workers = min(runtime.GOMAXPROCS(0), 4)
	}
	return &Reader{in: &counter{r: bufio.NewReaderSize(r, 64<<10)}, workers: workers}
}

// Read implements io.Reader.
func (z *Reader) Read(p []byte) (int, error) {
	for len(z.out) == 0 {
		if z.err != nil {
			return 0, z.err
		}
		z.out, z.err = z.next()
	}
	n := copy(p, z.out)
	z.out = z.out[n:]
	return n, nil
}

// next gives the next piece of output.
func (z *Reader) next() ([]byte, error) {
	if z.last != nil {
		z.spare, z.last = append(z.spare, z.last.dec), nil
	}
	for {
		if z.serial != nil && len(z.beside) == 0 {
			if piece, err := z.serial.piece(); err != nil || len(piece) > 0 {
				return piece, err
			}
			if err := z.serial.finish(z.in); err != nil {
				return nil, err
			}
			z.serial = nil
		}
		for z.ended == nil && z.serial == nil && len(z.beside) < z.workers {
			z.ended = z.begin()
		}
		if len(z.beside) > 0 {
			b := z.beside[0]
			z.beside = z.beside[1:]
			<-b.done
			z.last = b
			return b.dec.window.buf, b.err
		}
		if z.serial == nil {
			return nil, z.ended
		}
	}
}

// begin starts the next block, beside others if that is possible. io.EOF is the end of the last stream.
func (z *Reader) begin() error {
	if z.stream == nil {
		s, err := readStreamHeader(z.in, z.in.n == 0)
		if err != nil {
			return err
		}
		z.stream = s
	}
	b, err := z.stream.readBlockHeader(z.in)
	if err != nil {
		return err
	}
	if b == nil { // the index has begun
		if err := z.stream.readIndex(z.in); err != nil {
			return err
		}
		z.stream = nil
		return nil
	}
	if b.packed < 0 || b.size < 0 || b.packed > parallelBlock || b.size > parallelBlock {
		b.dec = &lzma2{in: z.in, window: window{dictionary: b.dictionary}}
		z.serial = b // its turn comes when those before it are out
		return nil
	}
	b.dec = z.decoder()
	if err := b.dec.load(z.in, b); err != nil {
		return err
	}
	if err := b.readCheck(z.in); err != nil {
		return err
	}
	z.beside = append(z.beside, b)
	go b.run()
	return nil
}

func (z *Reader) decoder() *lzma2 {
	if n := len(z.spare); n > 0 {
		d := z.spare[n-1]
		z.spare = z.spare[:n-1]
		return d
	}
	return &lzma2{}
}
