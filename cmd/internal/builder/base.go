package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/images"
)

// resolveBase finds out what the base is and writes it into the lock, by digest.
func (b *build) resolveBase(ctx context.Context) error {
	switch b.ref.Kind {
	case manifest.BaseBootstrap:
		return b.resolveBootstrap(ctx)
	case manifest.BaseArchive:
		f, err := b.fetch.Add(ctx, "base image", distro.Document{URL: b.ref.URL, Limit: archiveLimit})
		if err != nil {
			return remoteFailure(err)
		}
		b.lock.BaseImageLocation, b.lock.BaseImageDigest = b.ref.URL, digest.NewDigestFromEncoded(digest.SHA256, f.SHA256)
		return b.checkPinned()
	case manifest.BasePath:
		src, err := b.openBase(b.path())
		if err != nil {
			return err
		}
		b.lock.BaseImageLocation = "file://" + b.path()
		if b.lock.BaseImageDigest, err = src.Digest(ctx); err != nil {
			return failure.New(failure.Manifest, fmt.Errorf("base image %s: %w", b.ref.Path, err), "")
		}
		return b.checkPinned()
	default:
		return failure.New(failure.Manifest, fmt.Errorf("base.image %q: this version builds from bootstrap:, archives and OCI layout directories, not from %s",
			b.manifest.Base.Image, map[manifest.BaseKind]string{manifest.BaseAlias: "image servers", manifest.BaseRegistry: "registries"}[b.ref.Kind]),
			"for Debian: image = \"bootstrap:debian/bookworm\"")
	}
}

const archiveLimit = 16 << 30 // bytes

func (b *build) checkPinned() error {
	if b.ref.Digest != "" && b.ref.Digest != b.lock.BaseImageDigest {
		return failure.New(failure.Remote, fmt.Errorf("base image %s is %s, and the manifest pins %s", b.lock.BaseImageLocation, b.lock.BaseImageDigest, b.ref.Digest), "")
	}
	return nil
}

// path is where a base on this machine lies.
func (b *build) path() string {
	if filepath.IsAbs(b.ref.Path) {
		return filepath.Clean(b.ref.Path)
	}
	return filepath.Join(b.req.Dir, b.ref.Path)
}

// baseKey is the digest of everything a base layer depends on.
func (b *build) baseKey() (digest.Digest, error) {
	in := struct {
		Domain       string
		Digest       digest.Digest
		Environment  int64
		Repositories []manifest.Repository
		Volatile     []string `json:",omitempty"`
	}{Domain: "karapace base layer 1", Digest: b.lock.BaseImageDigest}
	if b.ref.Kind == manifest.BaseBootstrap { // whose scripts run in the build environment, and whose sources.list names these
		in.Environment, in.Volatile = b.lock.BuildEnvironment, b.volatile()
		for _, r := range b.lock.Repositories {
			in.Repositories = append(in.Repositories, manifest.Repository{Location: r.Location, Suite: r.Suite, Components: r.Components})
		}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("encode base inputs: %w", err)
	}
	return digest.FromBytes(body), nil
}

// ensureBase finds the base layer in the store or makes it.
func (b *build) ensureBase(ctx context.Context) error {
	if b.base.ID != "" {
		return nil
	}
	key, err := b.baseKey()
	if err != nil {
		return err
	}
	return b.exclusive(ctx, key, func() error {
		found, err := b.find(key, &b.base)
		if found || err != nil {
			return err
		}
		return b.timed("make base layer", func() error { return b.makeBase(ctx, key) })
	})
}

// exclusive keeps two processes from building the same layer at once: the second finds the first one's.
func (b *build) exclusive(ctx context.Context, key digest.Digest, f func() error) error {
	path := b.store.Path("built", key.Encoded()+".lock")
	l, err := storage.WaitLock(ctx, path, func() { b.tell.Step("wait for another build of the same layer") })
	if err != nil {
		return err
	}
	defer l.Unlock()
	return f()
}

// find looks a layer up by what it is built from. A rebuild wants none found, but may use what it made itself.
func (b *build) find(key digest.Digest, into *layer) (bool, error) {
	if b.req.Fresh || b.aside != nil {
		return false, nil
	}
	known := b.store.Built(key)
	if known == nil {
		return false, nil
	}
	store, err := b.layers()
	if err != nil {
		return false, err
	}
	l, ok := store.Lookup(known.Layer)
	if !ok {
		return false, nil
	}
	*into = layer{ID: known.Layer, Dir: l.Dir, Link: l.Link, Size: known.Size, Epoch: known.Epoch, Env: known.Env}
	return true, nil
}

// makeBase assembles the base tree in a scratch directory and makes it a layer.
func (b *build) makeBase(ctx context.Context, key digest.Digest) error {
	scratch, err := b.scratch("base")
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	defer b.drop(scratch)
	root := filepath.Join(scratch.Dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return failure.New(failure.Store, err, "")
	}
	epoch, env, err := b.fillBase(ctx, scratch, root)
	if err != nil {
		return err
	}
	if err := fstree.Normalise(ctx, root, fstree.NormaliseOptions{Epoch: epoch, Policy: b.basePolicy()}); err != nil {
		return failure.New(failure.Manifest, fmt.Errorf("base image %s: %w", b.lock.BaseImage, err), "")
	}
	made, err := b.adopt(ctx, root, "")
	if err != nil {
		return err
	}
	made.Epoch, made.Env = epoch, env
	b.base = made
	return b.remember(key, "base", made)
}

// basePolicy is what a base does not keep. Volatile are paths of a bootstrapped one only: others are as they were fetched.
func (b *build) basePolicy() fstree.Policy {
	if b.ref.Kind == manifest.BaseBootstrap {
		return policy(distro.VolatileBase(true), b.volatile())
	}
	return policy(distro.VolatileBase(false), nil)
}

func (b *build) remember(key digest.Digest, kind string, l layer) error {
	if b.aside != nil {
		return nil
	}
	err := b.store.RememberBuilt(&storage.Built{
		Key: key, Kind: kind, Image: b.lock.BaseImage, Input: b.lock.BaseImageDigest, Layer: l.ID, Size: l.Size, Epoch: l.Epoch, Env: l.Env,
	})
	return failure.New(failure.Store, err, "")
}

// fillBase puts the base's files into root. It tells the newest time among them and the variables the image sets.
func (b *build) fillBase(ctx context.Context, scratch *storage.Scratch, root string) (epoch int64, env []string, err error) {
	switch b.ref.Kind {
	case manifest.BaseBootstrap:
		epoch, err = b.assemble(ctx, scratch)
		return epoch, nil, err
	case manifest.BaseArchive:
		f := distro.File{URL: b.lock.BaseImageLocation, SHA256: b.lock.BaseImageDigest.Encoded()}
		if err := b.fetch.Fetch(ctx, "base image", []distro.File{f}); err != nil {
			return 0, nil, remoteFailure(err)
		}
		return b.importBase(ctx, b.fetch.Path(f.SHA256), root)
	default:
		return b.importBase(ctx, b.path(), root)
	}
}

func (b *build) openBase(path string) (images.Source, error) {
	src, err := images.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New(failure.Manifest, fmt.Errorf("there is no base image %s", path), "base.image is relative to the directory of "+b.req.File)
	}
	return src, failure.New(failure.Manifest, err, "")
}

// importBase unpacks a base that is an archive or an OCI layout, and refuses other bytes than the lock's.
func (b *build) importBase(ctx context.Context, path, root string) (epoch int64, env []string, err error) {
	src, err := b.openBase(path)
	if err != nil {
		return 0, nil, err
	}
	got, err := src.Unpack(ctx, root, b.lock.Arch)
	if err != nil {
		return 0, nil, failure.New(failure.Manifest, fmt.Errorf("base image %s: %w", b.lock.BaseImage, err), "")
	}
	if got.Digest != b.lock.BaseImageDigest {
		return 0, nil, failure.New(failure.Lock, fmt.Errorf("base image %s is %s, and the lock says %s", b.lock.BaseImage, got.Digest, b.lock.BaseImageDigest),
			"bring the locked file back, or karapace lock --update "+b.req.File)
	}
	return got.Newest, got.Env, nil
}
