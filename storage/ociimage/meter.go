package ociimage

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// meter hashes and counts what goes through it.
type meter struct {
	w    io.Writer
	h    hash.Hash
	size int64
}

func newMeter(w io.Writer) *meter { return &meter{w: w, h: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.h.Write(p[:n])
	m.size += int64(n)
	return n, err
}

func (m *meter) digest() digest.Digest { return digest.NewDigest(digest.SHA256, m.h) }

// fill completes a descriptor with what went through, which must not be anything else than it promises.
func (m *meter) fill(d ispec.Descriptor) (ispec.Descriptor, error) {
	got := m.digest()
	if d.Digest != "" && (d.Digest != got || d.Size != m.size) {
		return d, fmt.Errorf("%s of %d bytes was to be written, and it is %s of %d bytes", d.Digest, d.Size, got, m.size)
	}
	d.Digest, d.Size = got, m.size
	return d, nil
}
