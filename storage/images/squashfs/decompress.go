package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// decompressor decompresses one block after the other.
type decompressor struct {
	name string
	next func(io.Reader) (io.Reader, error) // a reader of the next block, which ends the one before
	done func()
	buf  bytes.Buffer
}

// newDecompressor takes the number that an image has for its compression.
func newDecompressor(id uint16) (*decompressor, error) {
	switch id {
	case 1:
		return &decompressor{name: "gzip", next: nextZlib()}, nil
	case 4:
		z, err := xz.NewReader(nil, maxBlock)
		return &decompressor{name: "xz", next: func(r io.Reader) (io.Reader, error) { return z, z.Reset(r) }}, err
	case 6:
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8*maxBlock))
		if err != nil {
			return nil, err
		}
		return &decompressor{name: "zstd", next: func(r io.Reader) (io.Reader, error) { return z, z.Reset(r) }, done: z.Close}, nil
	}
	name, ok := map[uint16]string{2: "lzma", 3: "lzo", 5: "lz4"}[id]
	if !ok {
		name = fmt.Sprintf("compression %d", id)
	}
	return nil, fmt.Errorf("%s is not supported: it must be gzip, xz or zstd", name)
}

// nextZlib makes its reader of the first block, whose header it needs.
func nextZlib() func(io.Reader) (io.Reader, error) {
	var z io.ReadCloser
	return func(r io.Reader) (io.Reader, error) {
		if z != nil {
			return z, z.(zlib.Resetter).Reset(r, nil)
		}
		var err error
		z, err = zlib.NewReader(r)
		return z, err
	}
}

// run decompresses a block that becomes at most limit bytes.
func (d *decompressor) run(b []byte, limit int) ([]byte, error) {
	r, err := d.next(bytes.NewReader(b))
	if err == nil {
		d.buf.Reset()
		_, err = d.buf.ReadFrom(io.LimitReader(r, int64(limit)+1))
	}
	if err == nil && d.buf.Len() > limit {
		err = errors.New("a block is larger than it may be")
	}
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", d.name, err)
	}
	return bytes.Clone(d.buf.Bytes()), nil
}

func (d *decompressor) close() {
	if d.done != nil {
		d.done()
	}
}
