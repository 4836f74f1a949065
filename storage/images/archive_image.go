package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/storage/fstree"
)

// dockerManifest is the file that says what is in an archive of docker save.
const dockerManifest = "manifest.json"

// packed is an image in a plain tar archive: an OCI layout, or what docker save writes.
type packed struct {
	path string
	oci  bool
}

func (p *packed) Digest(ctx context.Context) (digest.Digest, error) { return fileDigest(ctx, p.path) }

func (p *packed) Unpack(ctx context.Context, root, arch string) (*Base, error) {
	b, err := p.unpack(ctx, root, arch)
	if err != nil {
		return nil, fmt.Errorf("image archive %s: %w", p.path, err)
	}
	return b, nil
}

func (p *packed) unpack(ctx context.Context, root, arch string) (*Base, error) {
	f, err := openRegularOrDir(p.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := digest.FromReader(contextReader{ctx, f})
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	files, err := indexTar(f)
	if err != nil {
		return nil, err
	}
	var b *Base
	if p.oci {
		b, err = unpackLayout(ctx, files, root, arch)
	} else {
		b, err = unpackDocker(ctx, files, root, arch)
	}
	if err != nil {
		return nil, err
	}
	b.Digest = d
	return b, nil
}

// holdsImage tells whether what was unpacked as a root file system is an image in truth: its archive was compressed, and
// could not be looked into before.
func holdsImage(root string) bool {
	for _, name := range []string{"oci-layout", dockerManifest} {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			return !isSystem(root)
		}
	}
	return false
}

// unpackUnpacked puts the image whose files lie in root in their place.
func unpackUnpacked(ctx context.Context, root, arch string) (b *Base, err error) {
	aside, err := os.MkdirTemp(filepath.Dir(root), "image-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fstree.RemoveAll(aside)) }()
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(root, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return nil, err
		}
	}
	if _, err := os.Lstat(filepath.Join(aside, "oci-layout")); err == nil {
		return unpackLayout(ctx, dirFiles(aside), root, arch)
	}
	return unpackDocker(ctx, dirFiles(aside), root, arch)
}

// unpackDocker unpacks an archive of docker save. Its layers have no digest but the diffIDs in the configuration.
func unpackDocker(ctx context.Context, from files, root, arch string) (*Base, error) {
	m, config, err := readDocker(from)
	if err != nil {
		return nil, err
	}
	if config.OS != "linux" || config.Architecture != arch {
		return nil, fmt.Errorf("it holds no image for linux/%s, but for %.40q", arch, config.OS+"/"+config.Architecture)
	}
	if len(m.Layers) > layerLimit || len(m.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the image has %d layers, and its configuration speaks of %d; at most %d are admitted", len(m.Layers), len(config.RootFS.DiffIDs), layerLimit)
	}
	base := &Base{Env: CleanEnv(config.Config.Env)}
	for n, name := range m.Layers {
		newest, err := unpackDockerLayer(ctx, from, root, name, config.RootFS.DiffIDs[n])
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", n+1, err)
		}
		base.Newest = max(base.Newest, newest)
	}
	return base, settleImage(root)
}

// dockerImageEntry is one image in manifest.json.
type dockerImageEntry struct {
	Config string
	Layers []string
}

func readDocker(from files) (*dockerImageEntry, *ispec.Image, error) {
	b, err := readAll(from, dockerManifest, documentLimit)
	if err != nil {
		return nil, nil, err
	}
	var list []dockerImageEntry
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dockerManifest, err)
	}
	if len(list) != 1 {
		return nil, nil, fmt.Errorf("it holds %d images: a base must be one", len(list))
	}
	if b, err = readAll(from, list[0].Config, documentLimit); err != nil {
		return nil, nil, err
	}
	config := &ispec.Image{}
	if err := decodeConfig(b, config); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", list[0].Config, err)
	}
	return &list[0], config, nil
}

func unpackDockerLayer(ctx context.Context, from files, root, name string, diffID digest.Digest) (newest int64, err error) {
	b, err := from.open(name)
	if err != nil {
		return 0, err
	}
	defer b.close()
	u, err := fstree.Unpack(ctx, root, b, fstree.UnpackOptions{Layer: true})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if u.DiffID != diffID {
		return 0, fmt.Errorf("%s is the archive %s instead of %s", name, u.DiffID, diffID)
	}
	return u.Newest, nil
}

// tarFiles are the files of a plain tar archive, which stays open.
type tarFiles struct {
	f     io.ReaderAt
	files map[string]span
	links map[string]string
}

// span is where a file's bytes lie in the archive.
type span struct{ at, size int64 }

// memberLimit bounds the entries of an image archive; a layer takes three at most.
const memberLimit = 4 * descriptorLimit

// indexTar finds the files in what may be an image archive. What is no plain tar, or is a root file system, has none.
func indexTar(f *os.File) (*tarFiles, error) {
	t := &tarFiles{f: f, files: map[string]span{}, links: map[string]string{}}
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil || n == memberLimit {
			return &tarFiles{}, nil // for the unpacker to explain
		}
		name := path.Clean(h.Name)
		switch top, _, _ := strings.Cut(name, "/"); top {
		case "etc", "usr", "bin":
			return &tarFiles{}, nil
		}
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.files[name] = span{at, h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			t.links[name] = h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				t.links[name] = path.Join(path.Dir(name), h.Linkname)
			}
		}
	}
}

func (t *tarFiles) has(name string) bool {
	_, ok := t.files[name]
	return ok
}

// open gives a file of the archive; docker save made layers that occur twice links to each other.
func (t *tarFiles) open(name string) (*blob, error) {
	name = path.Clean(name)
	for range 8 {
		if s, ok := t.files[name]; ok {
			return &blob{io.NewSectionReader(t.f, s.at, s.size), s.size, func() error { return nil }}, nil
		}
		target, ok := t.links[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		name = path.Clean(target)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
}
