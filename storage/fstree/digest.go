package fstree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Digest returns the diffID of a normalised tree, the sha256 of its canonical archive, and the archive's size in bytes.
func Digest(ctx context.Context, dir string) (diffID digest.Digest, size int64, err error) {
	if diffID, size, err = WriteTar(ctx, io.Discard, dir); err != nil {
		return "", 0, err
	}
	return diffID, size, nil
}

// WriteTar writes the canonical archive of a normalised tree and returns its digest and size in bytes.
func WriteTar(ctx context.Context, w io.Writer, dir string) (diffID digest.Digest, size int64, err error) {
	diffID, size, err = writeArchive(ctx, w, func(ctx context.Context, visit visitor) error { return walk(ctx, dir, visit) })
	if err != nil {
		return "", 0, fmt.Errorf("archive tree %s: %w", dir, err)
	}
	return diffID, size, nil
}

// writeArchive writes the canonical archive of the entries that walk visits.
func writeArchive(ctx context.Context, w io.Writer, walk func(context.Context, visitor) error) (diffID digest.Digest, size int64, err error) {
	h := sha256.New()
	g, ctx := errgroup.WithContext(ctx)
	a := &archiver{ctx: ctx, full: make(chan []byte, chunkCount), blank: make(chan []byte, chunkCount)}
	for range chunkCount {
		a.blank <- nil
	}
	g.Go(func() error {
		defer close(a.full)
		return a.run(walk)
	})
	g.Go(func() error {
		for b := range a.full {
			h.Write(b)
			if _, err := w.Write(b); err != nil {
				return err
			}
			size += int64(len(b))
			a.blank <- b
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return "", 0, err
	}
	return digest.NewDigest(digest.SHA256, h), size, nil
}

// archiver writes the canonical archive in chunks, which another goroutine hashes.
type archiver struct {
	ctx   context.Context
	full  chan []byte
	blank chan []byte
	buf   []byte
}

func (a *archiver) run(walk func(context.Context, visitor) error) error {
	if err := a.next(); err != nil {
		return err
	}
	if err := walk(a.ctx, a.entry); err != nil {
		return err
	}
	if err := a.write(zeroBlock[:]); err != nil {
		return err
	}
	if err := a.write(zeroBlock[:]); err != nil {
		return err
	}
	a.full <- a.buf
	return nil
}

// next takes an empty chunk.
func (a *archiver) next() error {
	select {
	case b := <-a.blank:
		if b == nil {
			b = make([]byte, 0, chunkSize)
		}
		a.buf = b[:0]
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

// flush hands on a full chunk. full has room for every chunk there is.
func (a *archiver) flush() error {
	if len(a.buf) < cap(a.buf) {
		return nil
	}
	a.full <- a.buf
	return a.next()
}

func (a *archiver) write(b []byte) error {
	for len(b) > 0 {
		n := copy(a.buf[len(a.buf):cap(a.buf)], b)
		a.buf, b = a.buf[:len(a.buf)+n], b[n:]
		if err := a.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) entry(e *Entry, src *source) error {
	head, err := appendHeader(make([]byte, 0, 3*blockSize), e)
	if err != nil {
		return entryError(e.Path, err)
	}
	if err := a.write(head); err != nil {
		return err
	}
	if src == nil {
		return nil
	}
	for src.size > 0 {
		n, err := src.read(a.buf[len(a.buf):cap(a.buf)])
		if err != nil {
			return entryError(e.Path, err)
		}
		a.buf = a.buf[:len(a.buf)+n]
		if err := a.flush(); err != nil {
			return err
		}
	}
	return a.write(zeroBlock[:padding(e.Size)])
}

// Newest returns the latest modification time, in seconds since the epoch, of what is neither a directory nor a mark in a
// normalised tree; 0 when there is no such thing.
func Newest(ctx context.Context, dir string) (newest int64, err error) {
	err = walk(ctx, dir, func(e *Entry, _ *source) error {
		if e.Kind != Dir {
			newest = max(newest, e.MTime)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look through tree %s: %w", dir, err)
	}
	return newest, nil
}
