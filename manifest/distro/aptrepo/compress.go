package aptrepo

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// maxDictionary bounds what an xz stream makes its decoder hold: xz -9 needs that much.
const maxDictionary = 64 << 20

// Decompress gives the plain bytes of r, whose first bytes tell how it is compressed: gzip, xz, zstd, bzip2 or not at
// all. More than limit plain bytes is an error.
func Decompress(r io.Reader, limit int64) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	closeNothing := func() {}
	var plain io.Reader = br
	end := closeNothing
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(br)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		plain, err = xz.NewReader(br, maxDictionary)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var z *zstd.Decoder
		z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err == nil {
			plain, end = z, z.Close
		}
	case bytes.HasPrefix(head, []byte("BZh")):
		plain, err = bzip2.NewReader(br), nil
	default:
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return &bounded{r: plain, left: limit, limit: limit, end: end}, nil
}

var errTooLarge = errors.New("more bytes than allowed")

type bounded struct {
	r           io.Reader
	left, limit int64
	end         func()
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: %d", errTooLarge, b.limit)
	}
	return n, err
}

func (b *bounded) Close() error { b.end(); return nil }
