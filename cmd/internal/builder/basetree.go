package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/images"
)

// baseTree is the files of a base in a scratch directory, on their way to be a layer.
type baseTree struct {
	scratch *storage.Scratch
	size    int64    // bytes of the file or directory they were unpacked from
	epoch   int64    // the newest time among them
	env     []string // variables the image sets
}

func (t *baseTree) root() string { return filepath.Join(t.scratch.Dir, "root") }

// newTree makes the tree of this build, empty; ensureBase drops it.
func (b *build) newTree() error {
	scratch, err := b.scratch("base")
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	b.tree = &baseTree{scratch: scratch}
	return failure.New(failure.Store, os.Mkdir(b.tree.root(), 0o755), "")
}

func (b *build) dropTree() {
	if b.tree != nil {
		b.drop(b.tree.scratch)
		b.tree = nil
	}
}

// resolvePath finds the digest of a base on this machine. Reading it takes long, so that it is unpacked in the same pass,
// unless the store seems to have its layer.
func (b *build) resolvePath(ctx context.Context) error {
	src, size, err := b.openBase(b.path())
	if err != nil {
		return err
	}
	b.lock.BaseImageLocation = "file://" + b.path()
	if b.seemsBuilt(size) {
		if b.lock.BaseImageDigest, err = src.Digest(ctx); err != nil {
			return b.badBase(err)
		}
	} else if b.lock.BaseImageDigest, err = b.unpack(ctx, src, size); err != nil {
		return err
	}
	return b.checkPinned()
}

// seemsBuilt tells whether some base layer in the store was made of an input of this size. It decides about effort only.
func (b *build) seemsBuilt(size int64) bool {
	if b.req.Fresh {
		return false
	}
	bases, err := b.store.Bases()
	return err == nil && slices.ContainsFunc(bases, func(k *storage.Built) bool { return k.InputSize == size })
}

// fillTree makes the tree of what the lock says, unless it was made to find that out.
func (b *build) fillTree(ctx context.Context) error {
	if b.tree != nil {
		return nil
	}
	switch b.ref.Kind {
	case manifest.BaseBootstrap:
		if err := b.newTree(); err != nil {
			return err
		}
		var err error
		b.tree.epoch, err = b.assemble(ctx, b.tree.scratch)
		return err
	case manifest.BaseArchive, manifest.BaseAlias:
		f := distro.File{URL: b.lock.BaseImageLocation, SHA256: b.lock.BaseImageDigest.Encoded()}
		if err := b.fetch.Fetch(ctx, "base image", []distro.File{f}); err != nil {
			return remoteFailure(err)
		}
		return b.importBase(ctx, b.fetch.Path(f.SHA256))
	case manifest.BaseRegistry:
		return b.importRegistry(ctx)
	default:
		return b.importBase(ctx, b.path())
	}
}

// importBase unpacks a base that is an archive or an OCI layout, and refuses other bytes than the lock's.
func (b *build) importBase(ctx context.Context, path string) error {
	src, size, err := b.openBase(path)
	if err != nil {
		return err
	}
	got, err := b.unpack(ctx, src, size)
	if err != nil {
		return err
	}
	if got != b.lock.BaseImageDigest {
		return failure.New(failure.Lock, fmt.Errorf("base image %s is %s, and the lock says %s", b.lock.BaseImage, got, b.lock.BaseImageDigest),
			"bring the locked file back, or karapace lock --update "+b.req.File)
	}
	return nil
}

// openBase also tells the size of the file or directory.
func (b *build) openBase(path string) (images.Source, int64, error) {
	src, err := images.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, failure.New(failure.Manifest, fmt.Errorf("there is no base image %s", path), "base.image is relative to the directory of "+b.req.File)
	}
	if err != nil {
		return nil, 0, failure.New(failure.Manifest, err, "")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, failure.New(failure.Manifest, err, "")
	}
	return src, info.Size(), nil
}

// unpack makes the tree of src and tells the digest of what it read.
func (b *build) unpack(ctx context.Context, src images.Source, size int64) (digest.Digest, error) {
	if err := b.newTree(); err != nil {
		return "", err
	}
	got, err := src.Unpack(ctx, b.tree.root(), b.lock.Arch)
	if err != nil {
		return "", b.badBase(err)
	}
	b.tree.size, b.tree.epoch, b.tree.env = size, got.Newest, got.Env
	return got.Digest, nil
}

func (b *build) badBase(err error) error {
	return failure.New(failure.Manifest, fmt.Errorf("base image %s: %w", b.lock.BaseImage, err), "")
}
