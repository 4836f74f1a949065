package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/storage/fstree"
)

// Limits of what an image may consist of.
const (
	documentLimit   = 4 << 20 // bytes of an index, manifest or configuration
	depthLimit      = 4       // indexes inside indexes
	descriptorLimit = 1000
	layerLimit      = 127
)

// Media types of the formats that came before the OCI's and have the same structure.
const (
	dockerList        = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerImage       = "application/vnd.docker.distribution.manifest.v2+json"
	dockerImageConfig = "application/vnd.docker.container.image.v1+json"
)

// layout is an OCI layout directory (image specification, image-layout.md).
type layout struct{ path string }

func (l *layout) Digest(context.Context) (digest.Digest, error) {
	i, err := openImage(dirFiles(l.path))
	if err != nil {
		return "", fmt.Errorf("OCI layout %s: %w", l.path, err)
	}
	return i.digest, nil
}

func (l *layout) Unpack(ctx context.Context, root, arch string) (*Base, error) {
	b, err := unpackLayout(ctx, dirFiles(l.path), root, arch)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", l.path, err)
	}
	return b, nil
}

func unpackLayout(ctx context.Context, from files, root, arch string) (*Base, error) {
	i, err := openImage(from)
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
	return &Base{Digest: i.digest, Newest: newest, Env: CleanEnv(c.config.Config.Env)}, nil
}

// image reads the documents and blobs of an OCI layout.
type image struct {
	from   files
	digest digest.Digest // of what index.json names
	index  []ispec.Descriptor
	bring  func(ispec.Descriptor) error // nil: everything is there
}

func openImage(from files) (*image, error) {
	var version ispec.ImageLayout
	b, err := readAll(from, "oci-layout", documentLimit)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &version); err != nil || !strings.HasPrefix(version.Version, "1.") {
		return nil, fmt.Errorf("oci-layout: version %q is unknown", version.Version)
	}
	if b, err = readAll(from, "index.json", documentLimit); err != nil {
		return nil, err
	}
	var index ispec.Index
	if err := decode(b, &index, "", ispec.MediaTypeImageIndex); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	i := &image{from: from, digest: digest.FromBytes(b), index: index.Manifests}
	if len(index.Manifests) == 1 {
		i.digest = index.Manifests[0].Digest
	}
	return i, nil
}

// decode parses a document of a type. One that could be read as another type too is refused (GHSA-77vh-xpmg-72qh).
func decode(b []byte, into any, types ...string) error {
	var shape struct {
		MediaType     string          `json:"mediaType"`
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(b, &shape); err != nil {
		return err
	}
	switch {
	case shape.SchemaVersion != 2:
		return fmt.Errorf("schema version %d is unknown", shape.SchemaVersion)
	case shape.MediaType != "" && !slices.Contains(types, shape.MediaType):
		return fmt.Errorf("it says it is %q, and is referred to as %q", shape.MediaType, types[0])
	case shape.Manifests != nil && (shape.Layers != nil || shape.Config != nil):
		return errors.New("it is both an index and a manifest")
	}
	return json.Unmarshal(b, into)
}

// flatten unpacks all layers into root, each verified by size, digest and diffID.
func (i *image) flatten(ctx context.Context, root string, m *ispec.Manifest, config *ispec.Image) (newest int64, err error) {
	if len(m.Layers) > layerLimit {
		return 0, fmt.Errorf("the image has %d layers, more than %d", len(m.Layers), layerLimit)
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return 0, fmt.Errorf("the image has %d layers, and its configuration speaks of %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	for n, d := range m.Layers {
		t, err := i.unpackLayer(ctx, root, d, config.RootFS.DiffIDs[n])
		if err != nil {
			return 0, fmt.Errorf("layer %d: %w", n+1, err)
		}
		newest = max(newest, t)
	}
	return newest, settleImage(root)
}

// settleImage is settleRoot for an image, whose tree stands where it belongs.
func settleImage(root string) error {
	if isSystem(root) {
		return nil
	}
	return errors.New("the image holds no system: it has no etc, or neither usr nor bin")
}

func (i *image) unpackLayer(ctx context.Context, root string, d ispec.Descriptor, diffID digest.Digest) (newest int64, err error) {
	if strings.HasSuffix(d.MediaType, "+encrypted") {
		return 0, errors.New("encrypted layers are not supported")
	}
	b, err := openBlob(i.from, d)
	if err != nil {
		return 0, err
	}
	defer b.close()
	u, err := fstree.Unpack(ctx, root, b, fstree.UnpackOptions{Layer: true})
	switch {
	case err != nil:
		return 0, fmt.Errorf("blob %s: %w", d.Digest, err)
	case u.Size != d.Size:
		return 0, fmt.Errorf("blob %s has %d bytes instead of %d", d.Digest, u.Size, d.Size)
	case u.Digest != d.Digest:
		return 0, fmt.Errorf("blob %s has the digest %s", d.Digest, u.Digest)
	case u.DiffID != diffID:
		return 0, fmt.Errorf("blob %s holds the archive %s instead of %s", d.Digest, u.DiffID, diffID)
	}
	return u.Newest, nil
}

// CleanEnv keeps the variables that have a name a shell could use.
func CleanEnv(env []string) (kept []string) {
	for _, v := range env {
		name, value, ok := strings.Cut(v, "=")
		if ok && isEnvName(name) && !strings.ContainsAny(value, "\x00\n") {
			kept = append(kept, v)
		}
	}
	return kept
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
