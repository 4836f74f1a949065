package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// picker looks for the image of an architecture in a tree of indexes.
type picker struct {
	i     *image
	arch  string
	seen  int      // descriptors
	found []string // platforms, for the message
	best  []candidate
}

type candidate struct {
	from     ispec.Descriptor
	rank     int
	manifest *ispec.Manifest
	config   *ispec.Image
}

// pick reads the manifest and the configuration of the one image for arch.
func (i *image) pick(arch string) (*candidate, error) {
	p := &picker{i: i, arch: arch}
	if err := p.index(i.index, 1); err != nil {
		return nil, err
	}
	switch len(p.best) {
	case 0:
		if len(p.found) == 0 {
			return nil, errors.New("it holds no image")
		}
		slices.Sort(p.found)
		return nil, fmt.Errorf("it holds no image for linux/%s, but for %s", arch, strings.Join(slices.Compact(p.found), ", "))
	case 1:
		return &p.best[0], nil
	default:
		return nil, fmt.Errorf("it holds %d images for linux/%s: a base must be one", len(p.best), arch)
	}
}

func (p *picker) index(descriptors []ispec.Descriptor, depth int) error {
	for _, d := range descriptors {
		if p.seen++; p.seen > descriptorLimit {
			return fmt.Errorf("it has more than %d descriptors", descriptorLimit)
		}
		var err error
		switch d.MediaType {
		case ispec.MediaTypeImageIndex, dockerList:
			err = p.nested(d, depth)
		case ispec.MediaTypeImageManifest, dockerImage:
			err = p.manifest(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) nested(d ispec.Descriptor, depth int) error {
	if depth == depthLimit {
		return fmt.Errorf("its indexes are nested deeper than %d", depthLimit)
	}
	var index ispec.Index
	if err := p.i.read(d, &index); err != nil {
		return err
	}
	return p.index(index.Manifests, depth+1)
}

// manifest considers an image. One that says for what platform it is, and that is another, is not even read.
func (p *picker) manifest(d ispec.Descriptor) error {
	if d.Platform != nil && p.rank(*d.Platform) == 0 {
		return nil
	}
	var m ispec.Manifest
	if err := p.i.read(d, &m); err != nil {
		return err
	}
	if t := m.Config.MediaType; t != ispec.MediaTypeImageConfig && t != dockerImageConfig {
		return nil // something else that is kept in the form of an image
	}
	var config ispec.Image
	b, err := p.i.document(m.Config)
	if err != nil {
		return err
	}
	if err := decodeConfig(b, &config); err != nil {
		return fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	platform := config.Platform
	if d.Platform != nil {
		platform.Variant = d.Platform.Variant
	}
	p.consider(candidate{d, p.rank(platform), &m, &config})
	return nil
}

func (p *picker) consider(c candidate) {
	switch {
	case c.rank == 0, slices.ContainsFunc(p.best, func(b candidate) bool { return b.from.Digest == c.from.Digest || b.rank > c.rank }):
	case len(p.best) > 0 && p.best[0].rank < c.rank:
		p.best = []candidate{c}
	default:
		p.best = append(p.best, c)
	}
}

// rank tells how well a platform fits: 0 not at all.
func (p *picker) rank(have ispec.Platform) int {
	name := strings.TrimSuffix(have.OS+"/"+have.Architecture+"/"+have.Variant, "/")
	p.found = append(p.found, fmt.Sprintf("%.40q", name))
	if have.OS != "linux" || have.Architecture != p.arch {
		return 0
	}
	variants := map[string][]string{"amd64": {"", "v1"}, "arm64": {"", "v8"}, "arm": {"v5", "v6", "", "v7"}}[p.arch]
	if variants == nil {
		return 1
	}
	return 1 + slices.Index(variants, have.Variant)
}

// read reads a document that a descriptor names.
func (i *image) read(d ispec.Descriptor, into any) error {
	b, err := i.document(d)
	if err != nil {
		return err
	}
	if err := decode(b, into, d.MediaType); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	return nil
}

// document reads a small blob, and has it brought first if it is elsewhere.
func (i *image) document(d ispec.Descriptor) ([]byte, error) {
	if i.bring != nil {
		if d.Size > documentLimit || d.Size < 0 {
			return nil, fmt.Errorf("document %s has %d bytes, more than %d", d.Digest, d.Size, documentLimit)
		}
		if err := i.bring(d); err != nil {
			return nil, err
		}
	}
	return readBlob(i.from, d)
}
