package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/images"
)

// resolveBootstrap pins every package of a bootstrapped base.
func (b *build) resolveBootstrap(ctx context.Context) error {
	plan, err := images.ResolveBootstrap(ctx, b.remote(), images.Bootstrap{
		Distro: b.ref.Distro, Release: b.ref.Release, Arch: b.lock.Arch,
		Mirrors: []string{b.manifest.Base.Mirror, b.config.Mirrors[b.ref.Distro]},
		Keyring: b.config.Keyrings[b.ref.Distro],
		Host:    aptrepo.FS(os.DirFS("/")),
	})
	if err != nil {
		return remoteFailure(err)
	}
	b.lock.BasePackages, b.lock.Repositories = plan.Packages, plan.Repositories
	if len(plan.Repositories) > 0 {
		b.lock.BaseImageLocation = plan.Repositories[0].Location
	}
	if b.lock.BaseImageDigest, err = packagesDigest(plan.Packages); err != nil {
		return err
	}
	return b.checkPinned()
}

// packagesDigest identifies a set of package files, in the order of the lock.
func packagesDigest(pkgs []manifest.Package) (digest.Digest, error) {
	sums := make([]string, len(pkgs))
	for i, p := range pkgs {
		sums[i] = p.SHA256
	}
	body, err := json.Marshal(sums)
	if err != nil {
		return "", fmt.Errorf("encode packages: %w", err)
	}
	return digest.FromBytes(body), nil
}

// assemble makes a bootstrapped base in root. Its time is that of its newest package, so that bases made of the same
// packages are one layer, whenever they were locked.
func (b *build) assemble(ctx context.Context, scratch *storage.Scratch) (epoch int64, err error) {
	if d, err := packagesDigest(b.lock.BasePackages); err != nil || d != b.lock.BaseImageDigest {
		return 0, failure.New(failure.Lock, fmt.Errorf("base_image_digest of %s is not that of its base_packages", b.req.LockFile), "karapace lock --update "+b.req.File)
	}
	if err := b.fetch.Fetch(ctx, "base packages", b.packageFiles(b.lock.BasePackages)); err != nil {
		return 0, remoteFailure(err)
	}
	if epoch, err = images.NewestDeb(b.fetch, b.lock.BasePackages); err != nil {
		return 0, remoteFailure(err)
	}
	sb, err := b.newSandbox(scratch, epoch)
	if err != nil {
		return 0, err
	}
	plan := &images.BootstrapPlan{Packages: b.lock.BasePackages, Repositories: b.lock.Repositories}
	return epoch, remoteFailure(images.AssembleBootstrap(ctx, sb.root, plan, b.fetch, sb))
}

// remote is the fetcher to resolve with: within one resolution a document is asked for once, so that base and packages
// come from the same state of a mirror.
func (b *build) remote() distro.Fetcher {
	if b.once == nil {
		b.once = &onceFetcher{Fetcher: b.fetch, got: map[string]*document{}}
	}
	return b.once
}

type onceFetcher struct {
	distro.Fetcher
	mu  sync.Mutex
	got map[string]*document
}

type document struct {
	once sync.Once
	body []byte
	err  error
}

// Get implements distro.Fetcher.
func (f *onceFetcher) Get(ctx context.Context, doc distro.Document) ([]byte, error) {
	f.mu.Lock()
	d := f.got[doc.URL]
	if d == nil {
		d = &document{}
		f.got[doc.URL] = d
	}
	f.mu.Unlock()
	d.once.Do(func() { d.body, d.err = f.Fetcher.Get(ctx, doc) })
	return d.body, d.err
}
