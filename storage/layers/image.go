package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/storage"
)

// Image is an OCI image whose layers are in the store.
type Image struct {
	Digest   digest.Digest // of Manifest
	Manifest []byte
	Config   []byte
}

// EncodeImage makes the documents of an image from layers, bottom first. config.RootFS is filled in; all the rest, its
// times too, is the caller's, so that equal input gives equal bytes. The layers are described as uncompressed archives.
// notes are annotations of the configuration's descriptor, which no runtime looks at.
func EncodeImage(config ispec.Image, notes map[string]string, layers []Layer) (*Image, error) {
	config.RootFS = ispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	m := ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest, Layers: []ispec.Descriptor{}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, ispec.Descriptor{MediaType: ispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size})
	}
	i := &Image{}
	var err error
	if i.Config, err = json.Marshal(config); err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	m.Config = ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: digest.FromBytes(i.Config), Size: int64(len(i.Config)), Annotations: notes}
	if i.Manifest, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("encode image manifest: %w", err)
	}
	i.Digest = digest.FromBytes(i.Manifest)
	return i, nil
}

// Image stores the image of the layers with diffIDs, bottom first, as EncodeImage makes it, under names in addition to
// those it may have. When it returns without an error the image survives a power cut.
func (s *Store) Image(ctx context.Context, diffIDs []digest.Digest, config ispec.Image, notes map[string]string, names ...string) (*Image, error) {
	var stack []Layer
	for _, d := range diffIDs {
		l, ok := s.Lookup(d)
		if !ok {
			return nil, fmt.Errorf("store image: layer %s does not exist", d)
		}
		stack = append(stack, l)
	}
	i, err := EncodeImage(config, notes, stack)
	if err != nil {
		return nil, err
	}
	lock, err := storage.WaitLock(ctx, s.records()+"/.", s.Waiting)
	if err != nil {
		return nil, fmt.Errorf("store image: %w", err)
	}
	defer lock.Unlock()
	if err := s.putImage(i, stack, config, names); err != nil {
		return nil, fmt.Errorf("store image %s: %w", i.Digest, err)
	}
	return i, s.sync()
}

func (s *Store) putImage(i *Image, stack []Layer, config ispec.Image, names []string) (err error) {
	defer s.survive(&err)
	c, err := s.open()
	if err != nil {
		return err
	}
	top := ""
	if len(stack) > 0 {
		top = stack[len(stack)-1].id
	}
	opts := &cstorage.ImageOptions{Digest: i.Digest, BigData: i.bigData()}
	if config.Created != nil {
		opts.CreationDate = *config.Created
	}
	_, err = c.CreateImage(i.id(), names, top, "", opts)
	if !errors.Is(err, cstorage.ErrDuplicateID) {
		return err
	}
	there, err := c.Image(i.id())
	if err != nil {
		return err
	}
	if there.TopLayer != top { // which was made again in another place
		if err := c.Delete(i.id()); err != nil {
			return err
		}
		_, err = c.CreateImage(i.id(), append(there.Names, names...), top, "", opts)
		return err
	}
	// it is there, but a power cut may have emptied its files
	for _, d := range i.bigData() {
		if err := c.SetImageBigData(i.id(), d.Key, d.Data, digestOf); err != nil {
			return err
		}
	}
	return c.AddNames(i.id(), names)
}

func digestOf(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil }

// id is what containers/storage and its users expect: the digest of the configuration.
func (i *Image) id() string { return digest.FromBytes(i.Config).Encoded() }

// bigData are the documents under the keys that readers of containers/storage look for.
func (i *Image) bigData() []cstorage.ImageBigDataOption {
	config := digest.FromBytes(i.Config)
	return []cstorage.ImageBigDataOption{
		{Key: cstorage.ImageDigestBigDataKey, Data: i.Manifest, Digest: i.Digest},
		{Key: cstorage.ImageDigestManifestBigDataNamePrefix + "-" + i.Digest.String(), Data: i.Manifest, Digest: i.Digest},
		{Key: config.String(), Data: i.Config, Digest: config},
	}
}

// FindImage reads a stored image by the digest of its manifest. A missing or damaged one gives ErrNoImage.
func (s *Store) FindImage(d digest.Digest) (i *Image, err error) {
	defer s.survive(&err)
	c, err := s.open()
	if err != nil {
		return nil, err
	}
	images, err := c.ImagesByDigest(d)
	if err != nil {
		return nil, fmt.Errorf("find image %s: %w", d, err)
	}
	for _, found := range images {
		i := &Image{Digest: d}
		if i.Manifest, err = c.ImageBigData(found.ID, cstorage.ImageDigestBigDataKey); err != nil || digest.FromBytes(i.Manifest) != d {
			continue
		}
		var m ispec.Manifest
		if json.Unmarshal(i.Manifest, &m) != nil {
			continue
		}
		if i.Config, err = c.ImageBigData(found.ID, m.Config.Digest.String()); err == nil && digest.FromBytes(i.Config) == m.Config.Digest {
			return i, nil
		}
	}
	return nil, fmt.Errorf("image %s: %w", d, ErrNoImage)
}

// ErrNoImage means that the store has no such image.
var ErrNoImage = errors.New("it is not in the store")
