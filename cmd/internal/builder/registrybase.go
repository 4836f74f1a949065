package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/images"
)

// resolveRegistry asks a registry what a reference means for the architecture. The lock gets the digest of the image's
// manifest, or of the index where the manifest names that.
func (b *build) resolveRegistry(ctx context.Context) error {
	r, parts, err := b.findParts(ctx, b.ref.Reference())
	if err != nil {
		return err
	}
	pinned := b.ref.Digest
	if pinned == "" {
		pinned = parts.Manifest
	}
	b.lock.BaseImageLocation = manifest.BaseRef{Kind: manifest.BaseRegistry, Registry: r.ref.Registry, Repository: r.ref.Repository, Digest: pinned}.String()
	b.lock.BaseImageDigest = pinned
	return nil
}

// findParts brings the documents of the base's image into the vault.
func (b *build) findParts(ctx context.Context, reference string) (*remote, *images.Parts, error) {
	r, err := b.connect(ctx, b.ref, b.config, b.req.Remote, b.req.Offline)
	if err != nil {
		return nil, nil, err
	}
	root, err := r.manifest(ctx, reference)
	if err != nil {
		return nil, nil, err
	}
	parts, err := r.blobs(root).Find(ctx, b.lock.Arch)
	if err != nil {
		return nil, nil, b.badParts(err)
	}
	// What is here was checked when it came. A lock may name anything, and not everybody checks.
	if root != b.lock.BaseImageDigest || !b.req.Offline && r.fetch.Missing(r.files(parts.Layers)) != nil {
		if err := r.verify(ctx, root); err != nil {
			return nil, nil, err
		}
	}
	return r, parts, nil
}

// badParts tells what could not be had from what makes no sense.
func (b *build) badParts(err error) error {
	var missing *fetch.MissingError
	if errors.As(err, &missing) {
		return remoteFailure(err)
	}
	image := b.lock.BaseImage
	if image == "" {
		image = b.ref.String()
	}
	return failure.New(failure.Remote, fmt.Errorf("base image %s: %w", image, err), "")
}

// importRegistry brings the layers of the locked base and unpacks them.
func (b *build) importRegistry(ctx context.Context) error {
	r, parts, err := b.findParts(ctx, string(b.lock.BaseImageDigest))
	if err != nil {
		return err
	}
	if err := r.fetch.Fetch(ctx, "base image", r.files(parts.Layers)); err != nil {
		return remoteFailure(err)
	}
	var size int64
	for _, d := range parts.Layers {
		size += d.Size
	}
	got, err := b.unpack(ctx, r.blobs(b.lock.BaseImageDigest), size)
	if err != nil {
		if corrupt := r.corrupt(ctx, parts); corrupt != nil {
			return corrupt
		}
	}
	if err == nil && got != b.lock.BaseImageDigest {
		err = b.badBase(fmt.Errorf("it is %s instead of %s", got, b.lock.BaseImageDigest))
	}
	return err
}

// corrupt takes damaged parts out of the vault and tells of the first.
func (r *remote) corrupt(ctx context.Context, parts *images.Parts) error {
	err := r.fetch.Verify(ctx, r.files(append(parts.Documents, parts.Layers...)))
	var damage *fetch.CorruptError
	if errors.As(err, &damage) {
		return remoteFailure(damage)
	}
	return nil
}

// bringRegistry brings everything of the locked base into the vault.
func (b *build) bringRegistry(ctx context.Context) error {
	r, parts, err := b.findParts(ctx, string(b.lock.BaseImageDigest))
	if err != nil {
		return err
	}
	return remoteFailure(r.fetch.Fetch(ctx, "base image", r.files(parts.Layers)))
}

// registryFiles are the files that the locked base is made of, as far as they are known: what is in the vault tells of the rest.
func (b *build) registryFiles() []distro.File {
	root := distro.File{URL: b.lock.BaseImageLocation, SHA256: b.lock.BaseImageDigest.Encoded()}
	files := []distro.File{root}
	for _, d := range partsInVault(b.fetch.Path, b.lock.BaseImageDigest, b.lock.Arch) {
		if d.Digest != b.lock.BaseImageDigest {
			files = append(files, distro.File{URL: b.ref.Registry + "/" + b.ref.Repository + "@" + d.Digest.String(), SHA256: d.Digest.Encoded(), Size: d.Size})
		}
	}
	return files
}

// partsInVault lists what an image is made of, as far as its documents are in the vault.
func partsInVault(path func(string) string, root digest.Digest, arch string) []ispec.Descriptor {
	var seen []ispec.Descriptor
	look := images.Blobs{Path: path, Root: root, Bring: func(_ context.Context, d ispec.Descriptor) error {
		seen = append(seen, d)
		return nil
	}}
	parts, err := look.Find(context.Background(), arch)
	if err != nil { // a document is missing, which was seen
		return seen
	}
	return append(parts.Documents, parts.Layers...)
}
