package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/images"
	"github.com/karapace/karapace/storage/registry"
)

// What travels beside an image: artifacts whose subject is the image. docs/protocol-v1.md has them all.
const (
	artifactLock      = "application/vnd.karapace.lock.v2"
	artifactSnapshots = "application/vnd.karapace.snapshots.v1"
	artifactPackages  = "application/vnd.karapace.packages.v1"

	typeLock     = "application/vnd.karapace.lock.v2+toml"
	typeSnapshot = "application/vnd.karapace.snapshots.v1+json"
	typePackage  = "application/vnd.karapace.file.v1"
)

// maxParts bounds the layers of an artifact.
const maxParts = 10_000

// newArtifact is an artifact without parts about an image (image specification, manifest.md, "Guidelines for Artifact Usage").
func newArtifact(kind string, subject ispec.Descriptor) *ispec.Manifest {
	return &ispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest, ArtifactType: kind,
		Config: ispec.DescriptorEmptyJSON, Layers: []ispec.Descriptor{}, Subject: &subject,
	}
}

// sendDocuments sends small blobs, and then the manifest that names them.
func sendDocuments(ctx context.Context, up *registry.Upload, m *ispec.Manifest, blobs map[digest.Digest][]byte) error {
	for d, body := range blobs {
		if _, err := up.Blob(ctx, ispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(body))}, raw(body)); err != nil {
			return err
		}
	}
	_, err := sendManifest(ctx, up, m)
	return err
}

func sendManifest(ctx context.Context, up *registry.Upload, m *ispec.Manifest) (digest.Digest, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode manifest: %w", err)
	}
	if len(body) > registry.DocumentLimit {
		return "", fmt.Errorf("the manifest of an artifact has %d bytes, and registries take %d", len(body), registry.DocumentLimit)
	}
	d := ispec.Descriptor{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	return d.Digest, up.Manifest(ctx, d, body)
}

func raw(body []byte) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(body))
		return err
	}
}

// tagged finds out what a tag means; "" when there is no such tag.
func (r *remote) tagged(ctx context.Context, tag string) (digest.Digest, error) {
	f, err := r.documents.Add(ctx, "manifest", distro.Document{URL: r.client.ManifestURL(tag), Limit: registry.DocumentLimit})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", remoteFailure(err)
	}
	return digest.NewDigestFromEncoded(digest.SHA256, f.SHA256), nil
}

// artifact reads the manifest of an artifact.
func (r *remote) artifact(ctx context.Context, d digest.Digest) (*ispec.Manifest, error) {
	at, err := r.manifest(ctx, string(d))
	if err != nil {
		return nil, err
	}
	text, err := images.Blobs{Path: r.fetch.Path, Root: at}.RootDocument()
	if err != nil {
		return nil, err
	}
	m := &ispec.Manifest{}
	if err := json.Unmarshal(text, m); err != nil || m.SchemaVersion != 2 {
		return nil, fmt.Errorf("%s is no manifest of an artifact", d)
	}
	if len(m.Layers) > maxParts {
		return nil, fmt.Errorf("artifact %s has %d parts, more than %d", d, len(m.Layers), maxParts)
	}
	for _, part := range append([]ispec.Descriptor{m.Config}, m.Layers...) {
		if err := images.CheckDescriptor(part); err != nil {
			return nil, fmt.Errorf("artifact %s: %w", d, err)
		}
	}
	return m, nil
}

// artifact is one that a registry has.
type artifact struct {
	*ispec.Manifest
	name digest.Digest
}

// pushed is when an artifact says that it was pushed (RFC 3339, in UTC), which orders those of one kind; empty when it does not say.
func pushed(annotations map[string]string) string { return annotations[ispec.AnnotationCreated] }

// about finds the artifacts of a kind that say they are about an image, those that were pushed last first.
func (r *remote) about(ctx context.Context, subject ispec.Descriptor, kind string) ([]artifact, error) {
	const enough = 16
	list, err := r.client.Referrers(ctx, subject, kind)
	if err != nil {
		return nil, failure.New(failure.Remote, err, "")
	}
	slices.SortStableFunc(list, func(a, b ispec.Descriptor) int { return strings.Compare(pushed(b.Annotations), pushed(a.Annotations)) })
	var all []artifact
	for _, d := range list {
		if d.ArtifactType != kind || d.Digest.Validate() != nil || len(all) == enough {
			continue
		}
		m, err := r.artifact(ctx, d.Digest)
		var unreached *failure.Error
		if errors.As(err, &unreached) {
			return nil, err
		}
		if err != nil { // anybody may have put it there
			continue
		}
		if m.Subject != nil && m.Subject.Digest == subject.Digest && m.ArtifactType == kind {
			all = append(all, artifact{m, d.Digest})
		}
	}
	slices.SortStableFunc(all, func(a, b artifact) int { return strings.Compare(pushed(b.Annotations), pushed(a.Annotations)) })
	return all, nil
}
