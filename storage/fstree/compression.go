package fstree

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// magicSize is how many first bytes tell the compression.
const magicSize = 6

// maxWindow bounds what a compressed stream can make its decoder hold; it is the most that zstd -d accepts by default.
const maxWindow = 128 << 20

// maxDictionary is the same for xz: its highest preset needs that much.
const maxDictionary = 64 << 20

// decompressor returns a reader of what is compressed in r, which begins with magic, or nil when it is not compressed.
// Its Close must be called. Formats: RFC 1952, RFC 8878, the .xz file format.
func decompressor(magic []byte, r io.Reader) (io.ReadCloser, error) {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompress gzip: %w", err)
		}
		return &named{"gzip", z, z.Close}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18}): // a skippable frame
		// one goroutine, the reader's: handing blocks around costs more than it gains
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress zstd: %w", err)
		}
		return &named{"zstd", z, func() error { z.Close(); return nil }}, nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(r, maxDictionary)
		if err != nil {
			return nil, fmt.Errorf("decompress xz: %w", err)
		}
		return &named{"xz", z, func() error { return nil }}, nil
	}
	for format, start := range map[string]string{"bzip2": "BZh", "lzma": "\x5d\x00\x00", "squashfs": "hsqs", "zip": "PK\x03\x04"} {
		if bytes.HasPrefix(magic, []byte(start)) {
			return nil, fmt.Errorf("%s is not supported: it must be a tar, tar.gz, tar.xz or tar.zst", format)
		}
	}
	return nil, nil
}

// named tells in its errors what could not be decompressed.
type named struct {
	format string
	r      io.Reader
	close  func() error
}

func (n *named) Read(p []byte) (int, error) {
	got, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decompress %s: %w", n.format, err)
	}
	return got, err
}

func (n *named) Close() error { return n.close() }
