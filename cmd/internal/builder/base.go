package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// resolveBase finds out what the base is and writes it into the lock, by digest.
func (b *build) resolveBase(ctx context.Context) error {
	switch b.ref.Kind {
	case manifest.BaseBootstrap:
		return b.resolveBootstrap(ctx)
	case manifest.BaseAlias:
		return b.resolveAlias(ctx)
	case manifest.BaseArchive:
		d, err := b.fetchArchive(ctx)
		b.lock.BaseImageLocation, b.lock.BaseImageDigest = b.ref.URL, d
		return err
	case manifest.BasePath:
		return b.resolvePath(ctx)
	case manifest.BaseRegistry:
		return b.resolveRegistry(ctx)
	}
	return failure.New(failure.Manifest, fmt.Errorf("base.image %q is of an unknown kind", b.manifest.Base.Image), "")
}

const archiveLimit = 16 << 30 // bytes

func (b *build) checkPinned() error {
	if b.ref.Digest != "" && b.ref.Digest != b.lock.BaseImageDigest {
		return failure.New(failure.Remote, fmt.Errorf("base image %s is %s, and the manifest pins %s", b.lock.BaseImageLocation, b.lock.BaseImageDigest, b.ref.Digest),
			"to accept what is there now, take the digest out of base.image and run karapace pin "+b.req.File)
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
	defer b.dropTree()
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
	l, err := b.store.Lock(ctx, path)
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

// makeBase makes the base's files a layer.
func (b *build) makeBase(ctx context.Context, key digest.Digest) error {
	if err := b.fillTree(ctx); err != nil {
		return err
	}
	t := b.tree
	early := b.startSync(t.root())
	if err := fstree.Normalise(ctx, t.root(), fstree.NormaliseOptions{Epoch: t.epoch, Policy: b.basePolicy(), Unpacked: b.ref.Kind != manifest.BaseBootstrap}); err != nil {
		return b.badBase(err)
	}
	made, err := b.adopt(ctx, t.root(), "", early)
	if err != nil {
		return err
	}
	made.InputSize, made.Epoch, made.Env = t.size, t.epoch, t.env
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
		Key: key, Kind: kind, Image: b.lock.BaseImage, Input: b.lock.BaseImageDigest, InputSize: l.InputSize, Layer: l.ID, Size: l.Size, Epoch: l.Epoch, Env: l.Env,
	})
	return failure.New(failure.Store, err, "")
}
