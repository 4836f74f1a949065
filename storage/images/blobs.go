package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree"
)

// Blobs is an image whose parts lie in a vault, each under its sha256, or can be brought there.
type Blobs struct {
	// Path is where the part with a digest, in hexadecimal, lies once it was brought.
	Path func(sha256 string) string
	// Root is the digest of the image's manifest or index, whose document is there.
	Root digest.Digest
	// Bring has a document brought that may not be there; nil: it is not asked for.
	Bring func(context.Context, ispec.Descriptor) error
}

// Parts are the pieces of one image.
type Parts struct {
	Manifest  digest.Digest
	Documents []ispec.Descriptor // indexes on the way, the manifest, the configuration
	Layers    []ispec.Descriptor // bottom first
	Image     *ispec.Manifest
	Config    *ispec.Image
}

// DocumentLimit bounds indexes, manifests and configurations, in bytes.
const DocumentLimit = documentLimit

// Find looks for the image for arch, a GOARCH name, and tells its parts. A document that is not there and cannot be
// brought gives fs.ErrNotExist.
func (b Blobs) Find(ctx context.Context, arch string) (*Parts, error) {
	parts := &Parts{}
	i, err := b.open(ctx, func(d ispec.Descriptor) { parts.Documents = append(parts.Documents, d) })
	if err != nil {
		return nil, err
	}
	c, err := i.pick(arch)
	if err != nil {
		return nil, err
	}
	if len(c.manifest.Layers) > layerLimit {
		return nil, fmt.Errorf("the image has %d layers, more than %d", len(c.manifest.Layers), layerLimit)
	}
	for _, d := range c.manifest.Layers {
		if err := CheckDescriptor(d); err != nil {
			return nil, err
		}
	}
	parts.Manifest, parts.Layers, parts.Image, parts.Config = c.from.Digest, c.manifest.Layers, c.manifest, c.config
	return parts, nil
}

// Digest implements Source.
func (b Blobs) Digest(context.Context) (digest.Digest, error) { return b.Root, nil }

// Unpack implements Source.
func (b Blobs) Unpack(ctx context.Context, root, arch string) (*Base, error) {
	i, err := b.open(ctx, func(ispec.Descriptor) {})
	if err != nil {
		return nil, err
	}
	c, err := i.pick(arch)
	if err != nil {
		return nil, err
	}
	newest, err := i.flatten(ctx, root, c.manifest, c.config)
	if err != nil {
		return nil, err
	}
	return &Base{Digest: b.Root, Newest: newest, Env: CleanEnv(c.config.Config.Env)}, nil
}

// open reads what the root is. used is told of every document that is read.
func (b Blobs) open(ctx context.Context, used func(ispec.Descriptor)) (*image, error) {
	root, err := b.root()
	if err != nil {
		return nil, err
	}
	i := &image{from: vaultFiles(b.Path), digest: b.Root, index: []ispec.Descriptor{root}}
	i.bring = func(d ispec.Descriptor) error {
		used(d)
		if err := CheckDescriptor(d); err != nil || b.Bring == nil {
			return err
		}
		return b.Bring(ctx, d)
	}
	return i, nil
}

// root makes a descriptor of the document of the digest, from what it says it is.
func (b Blobs) root() (ispec.Descriptor, error) {
	text, err := b.RootDocument()
	if err != nil {
		return ispec.Descriptor{}, err
	}
	kind, err := MediaType(text)
	return ispec.Descriptor{MediaType: kind, Digest: b.Root, Size: int64(len(text))}, err
}

// RootDocument reads the document of the root, verified and bounded. A missing one gives fs.ErrNotExist.
func (b Blobs) RootDocument() ([]byte, error) {
	d := ispec.Descriptor{Digest: b.Root}
	if err := CheckDescriptor(d); err != nil {
		return nil, err
	}
	f, err := vaultFiles(b.Path).open("blobs/sha256/" + b.Root.Encoded())
	if err != nil {
		return nil, err
	}
	d.Size = f.size
	f.close()
	return readBlob(vaultFiles(b.Path), d)
}

// CheckDescriptor refuses descriptors of what no vault can hold.
func CheckDescriptor(d ispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.100q is not a sha256", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("blob %s has %d bytes", d.Digest, d.Size)
	}
	return nil
}

// vaultFiles gives the parts of an image the names of an OCI layout.
type vaultFiles func(sha256 string) string

func (v vaultFiles) open(name string) (*blob, error) {
	sum, ok := strings.CutPrefix(name, "blobs/sha256/")
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	fd, err := unix.Open(v(sum), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return regular(fd, name)
}

// UnpackLayer fills the directory dir with a layer of an environment, as the store keeps it, from the blob that d
// describes; what the layer removes becomes marks for overlays. It returns the digest of the uncompressed archive.
func (b Blobs) UnpackLayer(ctx context.Context, dir string, d ispec.Descriptor) (digest.Digest, error) {
	if err := CheckDescriptor(d); err != nil {
		return "", err
	}
	f, err := openBlob(vaultFiles(b.Path), d)
	if err != nil {
		return "", err
	}
	defer f.close()
	u, err := fstree.Unpack(ctx, dir, f, fstree.UnpackOptions{Layer: true, Marks: true})
	switch {
	case err != nil:
		return "", fmt.Errorf("blob %s: %w", d.Digest, err)
	case u.Digest != d.Digest:
		return "", fmt.Errorf("blob %s has the digest %s", d.Digest, u.Digest)
	}
	return u.DiffID, nil
}

// ReadDocument reads a small blob of a vault, verified.
func (b Blobs) ReadDocument(d ispec.Descriptor) ([]byte, error) {
	if err := CheckDescriptor(d); err != nil {
		return nil, err
	}
	return readBlob(vaultFiles(b.Path), d)
}
