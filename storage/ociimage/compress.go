package ociimage

import (
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is how layers are compressed on their way.
type Compression string

// The compressions. The bytes they make depend on nothing but the input and the version of this program.
const (
	None Compression = "none"
	Gzip Compression = "gzip" // what everything reads
	Zstd Compression = "zstd" // smaller and faster; needs tools of 2020 or later
)

// Settings that decide the bytes. Of gzip each block is compressed by itself, with the end of the block before as its
// dictionary, so that several processors can work and their number changes nothing.
const (
	gzipLevel = 5
	gzipBlock = 1 << 20
	gzipAhead = 4 // blocks at once, at most
	zstdLevel = zstd.SpeedDefault
)

// ParseCompression reads a name.
func ParseCompression(name string) (Compression, error) {
	switch c := Compression(name); c {
	case None, Gzip, Zstd:
		return c, nil
	}
	return "", fmt.Errorf("compression %q is unknown: it is gzip, zstd or none", name)
}

// MediaType is that of a layer so compressed.
func (c Compression) MediaType() string {
	switch c {
	case Gzip:
		return ispec.MediaTypeImageLayerGzip
	case Zstd:
		return ispec.MediaTypeImageLayerZstd
	}
	return ispec.MediaTypeImageLayer
}

// Writer compresses what is written to it. Close ends the stream and leaves w open.
func (c Compression) Writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		z, err := pgzip.NewWriterLevel(w, gzipLevel)
		if err != nil {
			return nil, fmt.Errorf("compress gzip: %w", err)
		}
		z.ModTime = time.Unix(0, 0)
		return z, z.SetConcurrency(gzipBlock, gzipAhead)
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstdLevel), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("compress zstd: %w", err)
		}
		return z, nil
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
