package ociimage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Sink takes the parts of an image. Blobs come from several goroutines at once; the manifest comes last, when all it
// names is there.
type Sink interface {
	// Blob takes what write writes. d has the media type, and digest and size too when they are known beforehand: then a
	// sink that has the blob need not call write, and one that calls it must refuse other bytes. It returns d with all three.
	Blob(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) (ispec.Descriptor, error)
	// Manifest takes an image manifest and makes it visible.
	Manifest(ctx context.Context, d ispec.Descriptor, body []byte) error
}

// Options say in which form an image is sent.
type Options struct {
	Compression Compression // "" is None
	// Annotations of the manifest. With any the manifest, and so its digest, is another one than the image's own.
	Annotations map[string]string
	// Known tells digest and size of a layer as it will be compressed, from an earlier time; nil knows nothing.
	Known func(diffID digest.Digest) (ispec.Descriptor, bool)
}

// layersAtOnce is how many layers are on their way at a time: compressing keeps processors busy already.
const layersAtOnce = 2

// Send gives an image to a sink and returns the descriptor of the manifest it has there. With None and without
// annotations that is the image's own.
func Send(ctx context.Context, i *Image, to Sink, o Options) (ispec.Descriptor, error) {
	m, err := i.check()
	if err != nil {
		return ispec.Descriptor{}, err
	}
	body, err := i.send(ctx, m, to, o)
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("image %s: %w", i.Digest, err)
	}
	d := ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if err := to.Manifest(ctx, d, body); err != nil {
		return ispec.Descriptor{}, fmt.Errorf("image %s: %w", i.Digest, err)
	}
	return d, nil
}

// send sends all blobs and returns the manifest that names them.
func (i *Image) send(ctx context.Context, m *ispec.Manifest, to Sink, o Options) ([]byte, error) {
	first := map[digest.Digest]int{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for n, l := range i.Layers {
		if _, twice := first[l.DiffID]; twice {
			continue
		}
		first[l.DiffID] = n
		g.Go(func() (err error) {
			m.Layers[n], err = sendLayer(gctx, l, to, o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for n, l := range i.Layers {
		m.Layers[n] = m.Layers[first[l.DiffID]]
	}
	if _, err := to.Blob(ctx, m.Config, func(_ context.Context, w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(i.Config))
		return err
	}); err != nil {
		return nil, err
	}
	if len(o.Annotations) == 0 && m.Annotations == nil && (o.Compression == None || o.Compression == "") {
		return i.Manifest, nil
	}
	m.Annotations = maps.Clone(o.Annotations)
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode image manifest: %w", err)
	}
	return body, nil
}

func sendLayer(ctx context.Context, l Layer, to Sink, o Options) (ispec.Descriptor, error) {
	d := ispec.Descriptor{MediaType: o.Compression.MediaType()}
	switch {
	case d.MediaType == ispec.MediaTypeImageLayer:
		d.Digest, d.Size = l.DiffID, l.Size
	case o.Known != nil:
		if known, ok := o.Known(l.DiffID); ok {
			d.Digest, d.Size = known.Digest, known.Size
		}
	}
	sent, err := to.Blob(ctx, d, func(ctx context.Context, w io.Writer) error { return l.WriteCompressed(ctx, w, o.Compression) })
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	return ispec.Descriptor{MediaType: d.MediaType, Digest: sent.Digest, Size: sent.Size}, nil
}

// WriteCompressed writes the layer's tar compressed.
func (l Layer) WriteCompressed(ctx context.Context, w io.Writer, c Compression) error {
	z, err := c.Writer(w)
	if err != nil {
		return err
	}
	if err := l.Write(ctx, z); err != nil {
		z.Close() // what it still writes is of no use to anybody
		return err
	}
	return z.Close()
}

// Describe finds out what a layer will be when it is compressed, by compressing it.
func (l Layer) Describe(ctx context.Context, c Compression) (ispec.Descriptor, error) {
	d := ispec.Descriptor{MediaType: c.MediaType(), Digest: l.DiffID, Size: l.Size}
	if d.MediaType == ispec.MediaTypeImageLayer {
		return d, nil
	}
	h := newMeter(io.Discard)
	if err := l.WriteCompressed(ctx, h, c); err != nil {
		return d, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	d.Digest, d.Size = h.digest(), h.size
	return d, nil
}
