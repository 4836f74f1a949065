package fstree

import (
	"context"
	"io"
	"sync/atomic"
)

const (
	chunkSize  = 256 << 10 // a multiple of a tar block, so that a block never spans two chunks
	chunkCount = 12        // per stream: what may be read ahead
)

// chunk is a piece of a stream that several readers share.
type chunk struct {
	buf   []byte
	n     int
	users atomic.Int32
}

// stream reads a source once, ahead of its readers, and gives every one of them all its bytes.
type stream struct {
	ctx     context.Context
	readers []*streamReader
	free    chan *chunk
	read    atomic.Int64 // bytes of the source
	err     error        // how the source ended; set before the readers' channels are closed
}

func newStream(ctx context.Context, readers int) *stream {
	s := &stream{ctx: ctx, free: make(chan *chunk, chunkCount)}
	for range chunkCount {
		s.free <- &chunk{}
	}
	for range readers {
		s.readers = append(s.readers, &streamReader{s: s, full: make(chan *chunk, chunkCount)})
	}
	return s
}

// run reads src to its end. The error of src reaches the readers; run returns it too.
func (s *stream) run(src io.Reader) error {
	defer func() {
		for _, r := range s.readers {
			close(r.full)
		}
	}()
	for s.err == nil {
		c, err := s.blank()
		if err != nil {
			s.err = err
			return err
		}
		c.n, s.err = fill(src, c.buf)
		s.read.Add(int64(c.n))
		if c.n > 0 {
			s.send(c)
		}
	}
	if s.err == io.EOF {
		return nil
	}
	return s.err
}

// fill reads until p is full or src ends. Unlike io.ReadFull it returns the error of src as it is: io.ErrUnexpectedEOF is
// then a source's complaint that its input was cut short.
func fill(src io.Reader, p []byte) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		var got int
		got, err = src.Read(p[n:])
		n += got
		if got == 0 && err == nil {
			if empty++; empty == 100 {
				return n, io.ErrNoProgress
			}
		}
	}
	return n, err
}

func (s *stream) blank() (*chunk, error) {
	select {
	case c := <-s.free:
		if c.buf == nil {
			c.buf = make([]byte, chunkSize)
		}
		return c, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// send never blocks: a reader's channel has room for every chunk there is.
func (s *stream) send(c *chunk) {
	c.users.Store(int32(len(s.readers)))
	for _, r := range s.readers {
		r.full <- c
	}
}

// streamReader is one reader of a stream. Other readers wait for it once it is chunkCount chunks behind.
type streamReader struct {
	s    *stream
	full chan *chunk
	cur  *chunk
	off  int
}

// next returns the rest of the present chunk; it is valid until the following call.
func (r *streamReader) next() ([]byte, error) {
	if r.cur != nil && r.off == r.cur.n {
		if r.cur.users.Add(-1) == 0 {
			r.s.free <- r.cur
		}
		r.cur = nil
	}
	if r.cur == nil {
		c, ok := <-r.full
		if !ok {
			return nil, r.s.err
		}
		r.cur, r.off = c, 0
	}
	return r.cur.buf[r.off:r.cur.n], nil
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (int, error) {
	b, err := r.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	r.off += n
	return n, nil
}

// peek returns up to n first bytes of the stream, less only if it is shorter. It must come before any Read.
func (r *streamReader) peek(n int) ([]byte, error) {
	b, err := r.next()
	if err == io.EOF {
		return nil, nil
	}
	return b[:min(n, len(b))], err
}

// copyTo gives all the rest of the stream to f.
func (r *streamReader) copyTo(f func([]byte) error) error {
	for {
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
		r.off = r.cur.n
	}
}
