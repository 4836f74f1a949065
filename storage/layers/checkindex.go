package layers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/storage"
)

// indexLimit bounds an index of containers/storage: some 300 bytes a layer, 1,500 an image.
const indexLimit = 256 << 20

func (s *Store) layerIndexPath() string {
	return filepath.Join(s.graphRoot(), driverName+"-layers", "layers.json")
}

func (s *Store) imageDir() string { return filepath.Join(s.graphRoot(), driverName+"-images") }

func (s *Store) imageIndexPath() string { return filepath.Join(s.imageDir(), "images.json") }

// readIndex reads a list as containers/storage writes it, to the byte: anything else was changed by something else. A
// missing one is empty.
func readIndex[T any](path string) ([]T, error) {
	data, err := readSmall(path, indexLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []T
	err = json.Unmarshal(data, &list)
	if again, bad := json.Marshal(list); err != nil || bad != nil || !bytes.Equal(again, data) {
		return nil, errors.New("it is not as containers/storage writes it")
	}
	return list, nil
}

// layerIndex compares containers/storage's list of layers with the records.
func (c *checker) layerIndex() error {
	c.Things++
	path := c.layerIndexPath()
	list, err := readIndex[cstorage.Layer](path)
	if storage.Starved(err) {
		return err
	}
	if err != nil {
		c.damage(KindIndex, "layers.json", path, "%v", bare(err))
		return nil
	}
	c.index = map[string]*cstorage.Layer{}
	for i := range list {
		c.index[list[i].ID] = &list[i]
		if c.byID[list[i].ID] == nil {
			c.idle(KindIndex, list[i].ID, path, "a layer without a record")
		}
	}
	for _, r := range c.records {
		if why := c.entry(r); why != "" {
			c.damage(KindIndex, string(r.DiffID), path, "%s", why)
		}
	}
	return nil
}

// entry says what is wrong with a layer's entry in the list.
func (c *checker) entry(r *record) string {
	e := c.index[r.ID]
	switch {
	case e == nil:
		return "it does not list the layer"
	case e.Parent != c.parentID(r) || e.UncompressedDigest != r.DiffID || e.UncompressedSize != r.Size || !e.Created.Equal(r.Created):
		return "its entry is of another layer"
	}
	return ""
}

// parentID is what containers/storage calls the layer below.
func (c *checker) parentID(r *record) string {
	if r.Parent == "" {
		return ""
	}
	p, err := c.readRecord(r.Parent)
	if err != nil {
		return ""
	}
	return p.ID
}

// frames checks what the overlay driver has around the trees of layers.
func (c *checker) frames() error {
	overlay := filepath.Join(c.graphRoot(), driverName)
	links := map[string]bool{}
	for _, r := range c.records {
		links[r.Link] = true
		c.frameOf(r, overlay)
	}
	for _, place := range []struct {
		dir   string
		named func(string) bool
	}{
		{overlay, func(n string) bool { return !isID(n) || c.byID[n] != nil }},
		{filepath.Join(overlay, "l"), func(n string) bool { return links[n] }},
	} {
		entries, err := os.ReadDir(place.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !place.named(e.Name()) {
				c.idle(KindIndex, e.Name(), filepath.Join(place.dir, e.Name()), "no record names it")
			}
		}
	}
	return nil
}

func (c *checker) frameOf(r *record, overlay string) {
	id := string(r.DiffID)
	file := filepath.Join(overlay, r.ID, "link")
	if b, err := readSmall(file, 256); err != nil || string(b) != r.Link {
		c.damage(KindIndex, id, file, "it should hold %s", r.Link)
	}
	file = filepath.Join(overlay, "l", r.Link)
	if target, err := os.Readlink(file); err != nil || target != filepath.Join("..", r.ID, "diff") {
		c.damage(KindIndex, id, file, "it should lead to the layer's files")
	}
	if r.Parent == "" {
		return
	}
	file = filepath.Join(overlay, r.ID, "lower")
	if b, err := readSmall(file, lowerLimit); err != nil || string(b) != c.below(r) {
		c.damage(KindIndex, id, file, "it should name the layers below")
	}
}

// below is the driver's list of the layers below one.
func (c *checker) below(r *record) string {
	var links []string
	for r.Parent != "" && len(links) < 500 {
		p, err := c.readRecord(r.Parent)
		if err != nil {
			break
		}
		links = append(links, "l/"+p.Link)
		r = p
	}
	return strings.Join(links, ":")
}

// images compares containers/storage's list of images with their documents.
func (c *checker) images() error {
	c.Things++
	path := c.imageIndexPath()
	list, err := readIndex[cstorage.Image](path)
	if storage.Starved(err) {
		return err
	}
	if err != nil {
		c.damage(KindIndex, "images.json", path, "%v", bare(err))
		return nil
	}
	known := map[string]bool{}
	for i := range list {
		c.Things++
		known[list[i].ID] = true
		if file, why := c.image(&list[i]); why != "" {
			c.damage(KindImage, string(list[i].Digest), file, "%s", why)
			continue
		}
		c.Good[list[i].Digest] = true
	}
	entries, err := os.ReadDir(c.imageDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if isID(e.Name()) && !exists(path) {
			c.damage(KindIndex, "images.json", path, "it is missing")
			return nil
		}
		if isID(e.Name()) && !known[e.Name()] {
			c.idle(KindImage, e.Name(), filepath.Join(c.imageDir(), e.Name()), "images.json does not list it")
		}
	}
	return nil
}

// image says what is wrong with an image, and where. All that containers/storage has of one follows from two documents.
func (c *checker) image(e *cstorage.Image) (file, why string) {
	file = c.imageIndexPath()
	if !isID(e.ID) || e.Digest.Validate() != nil {
		return file, "its entry makes no sense"
	}
	manifest := filepath.Join(c.imageDir(), e.ID, cstorage.ImageDigestBigDataKey)
	i := &Image{Digest: e.Digest}
	var err error
	if i.Manifest, err = readSmall(manifest, documentLimit); err != nil || digest.FromBytes(i.Manifest) != e.Digest {
		return manifest, "it is not the image manifest " + string(e.Digest)
	}
	var m ispec.Manifest
	if err := json.Unmarshal(i.Manifest, &m); err != nil || m.Config.Digest.Encoded() != e.ID {
		return file, "its entry is of another image"
	}
	config := c.bigData(e.ID, m.Config.Digest.String())
	if i.Config, err = readSmall(config, documentLimit); err != nil || digest.FromBytes(i.Config) != m.Config.Digest {
		return config, "it is not the image configuration " + string(m.Config.Digest)
	}
	again := c.bigData(e.ID, cstorage.ImageDigestManifestBigDataNamePrefix+"-"+string(e.Digest))
	if b, err := readSmall(again, documentLimit); err != nil || !bytes.Equal(b, i.Manifest) {
		return again, "it is not the image manifest " + string(e.Digest)
	}
	return file, c.sameEntry(e, i)
}

// documentLimit bounds a document of an image, in bytes.
const documentLimit = 4 << 20

// bigData is the file of a document of an image, as containers/storage names it.
func (s *Store) bigData(id, key string) string {
	return filepath.Join(s.imageDir(), id, "="+base64.StdEncoding.EncodeToString([]byte(key)))
}

// sameEntry says what an image's entry in the list says that its documents do not.
func (c *checker) sameEntry(e *cstorage.Image, i *Image) string {
	var config ispec.Image
	if err := json.Unmarshal(i.Config, &config); err != nil {
		return fmt.Sprintf("its configuration cannot be read: %v", err)
	}
	top := ""
	if n := len(config.RootFS.DiffIDs); n > 0 {
		at := slices.IndexFunc(c.records, func(r *record) bool { return r.DiffID == config.RootFS.DiffIDs[n-1] })
		if at < 0 {
			return "a layer of it has no record"
		}
		top = c.records[at].ID
	}
	names := []string{}
	for _, d := range i.bigData() {
		names = append(names, d.Key)
		if e.BigDataSizes[d.Key] != int64(len(d.Data)) || e.BigDataDigests[d.Key] != d.Digest {
			return "its entry does not describe its documents"
		}
	}
	if e.TopLayer != top || !slices.Equal(e.BigDataNames, names) || len(e.BigDataSizes)+len(e.BigDataDigests) != 2*len(names) ||
		config.Created != nil && !e.Created.Equal(*config.Created) {
		return "its entry does not describe its documents"
	}
	return ""
}
