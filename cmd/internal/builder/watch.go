package builder

import (
	"context"
	"io"
	"sync"

	"github.com/karapace/karapace/storage/ociimage"
)

// watched is an image whose way out is told to the user.
type watched struct {
	image *ociimage.Image
	tell  *teller
	mu    sync.Mutex // layers are written by several goroutines
}

// watch begins a transfer of all layers of an image; the caller ends it with done.
func (w *worker) watch(img *ociimage.Image) *watched {
	p := &watched{tell: w.tell}
	out := *img
	out.Layers = nil
	var total int64
	for _, l := range img.Layers {
		total += l.Size
		out.Layers = append(out.Layers, p.layer(l))
	}
	p.image = &out
	w.tell.Start("export", 1, total)
	return p
}

func (p *watched) layer(l ociimage.Layer) ociimage.Layer {
	write := l.Write
	l.Write = func(ctx context.Context, w io.Writer) error { return write(ctx, &counted{p, w}) }
	return l
}

func (p *watched) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell.Done()
}

// counted tells how much was written to w.
type counted struct {
	p *watched
	w io.Writer
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.tell.Add(int64(n))
	return n, err
}
