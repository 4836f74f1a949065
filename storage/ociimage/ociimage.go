// Package ociimage gives an environment's image to the world: to an OCI layout directory, to an archive that podman load
// and docker load take, or to whatever else is a Sink, such as a registry.
//
// # Vocabulary
//
// An Image is the two documents of an image and its layers, each of which can write its canonical tar (package fstree).
// Its digest is that of its image manifest, which names the layers as plain tars: what the lock records as
// image_digest. A transport image is the same image with compressed layers: the same configuration, and therefore the
// same image id and diffIDs, under another manifest with another digest.
//
// # Why the digest is of plain layers
//
// A digest over compressed layers would name the work of a compressor, of which every version makes other bytes; the
// identity of what was built must not change with a library. So the image's digest is what can be computed anew from
// the layers at any time, and the digest of a transport image is what a place that holds it calls it. Whoever receives
// a transport image unpacks its layers, verifies the diffIDs, and has the image's own digest by describing them as plain
// tars (Plain). Sent with None, image and transport image are one.
//
// # Invariants
//
// Nothing sent depends on when, where and by whom: the same image, compression and annotations give the same bytes,
// whatever the number of processors. A layer is hashed while it is written; one that is damaged ends the work with an
// error, and no manifest is sent before everything it names.
package ociimage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is one layer of an image.
type Layer struct {
	DiffID digest.Digest // sha256 of its tar
	Size   int64         // bytes of its tar
	// Write writes the tar, whole, and fails if that is not what DiffID says. It may be called more than once.
	Write func(ctx context.Context, w io.Writer) error
}

// Image is an image of plain tars.
type Image struct {
	Digest   digest.Digest // of Manifest
	Manifest []byte
	Config   []byte
	Layers   []Layer // bottom first
}

// check makes sure that the documents speak of the layers.
func (i *Image) check() (*ispec.Manifest, error) {
	m := &ispec.Manifest{}
	if err := json.Unmarshal(i.Manifest, m); err != nil {
		return nil, fmt.Errorf("image %s: its manifest: %w", i.Digest, err)
	}
	if got := digest.FromBytes(i.Manifest); got != i.Digest {
		return nil, fmt.Errorf("image %s: its manifest is %s", i.Digest, got)
	}
	if got := digest.FromBytes(i.Config); got != m.Config.Digest {
		return nil, fmt.Errorf("image %s: its configuration is %s instead of %s", i.Digest, got, m.Config.Digest)
	}
	if len(m.Layers) != len(i.Layers) {
		return nil, fmt.Errorf("image %s: it has %d layers, and %d are given", i.Digest, len(m.Layers), len(i.Layers))
	}
	for n, l := range i.Layers {
		if d := m.Layers[n]; d.Digest != l.DiffID || d.Size != l.Size || d.MediaType != ispec.MediaTypeImageLayer {
			return nil, fmt.Errorf("image %s: layer %d is %s of %d bytes, and %s of %d bytes is given", i.Digest, n+1, d.Digest, d.Size, l.DiffID, l.Size)
		}
	}
	return m, nil
}

// Created is the time the configuration gives, in seconds since the epoch; 0 without one.
func (i *Image) Created() int64 {
	var config struct {
		Created *time.Time `json:"created"`
	}
	if err := json.Unmarshal(i.Config, &config); err != nil || config.Created == nil {
		return 0
	}
	return config.Created.Unix()
}

// Plain turns the manifest of a transport image into that of the image: layers are the diffIDs and sizes of its tars,
// bottom first, as whoever unpacked them found them.
func Plain(transport *ispec.Manifest, layers []Layer) ([]byte, error) {
	m := *transport
	m.MediaType, m.ArtifactType, m.Subject, m.Annotations = ispec.MediaTypeImageManifest, "", nil, nil
	m.Config = ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: m.Config.Digest, Size: m.Config.Size, Annotations: m.Config.Annotations}
	m.Layers = make([]ispec.Descriptor, len(layers))
	for n, l := range layers {
		m.Layers[n] = ispec.Descriptor{MediaType: ispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode image manifest: %w", err)
	}
	return b, nil
}
