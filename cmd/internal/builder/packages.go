package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/fstree"
)

// managers are the package managers there are; the base decides which one is meant.
func managers() []distro.Manager {
	return []distro.Manager{distro.Apt{}, distro.Dnf{}, distro.Zypper{}, distro.Pacman{}}
}

// manager finds the base's own.
func (b *build) manager(sb distro.Sandbox) (distro.Manager, error) {
	var names []string
	for _, m := range managers() {
		if m.Detect(sb) {
			return m, nil
		}
		names = append(names, m.Name())
	}
	return nil, failure.New(failure.Manifest, fmt.Errorf("%s asks for packages, and base image %s has no package manager that is known here (%s)",
		b.req.File, b.lock.BaseImage, strings.Join(names, ", ")), "choose another base, or ask for no packages")
}

// plan asks the base's package manager for the full closure and writes it into the lock.
func (b *build) plan(ctx context.Context, names []string) error {
	return b.onBase("plan", func(sb *sandbox, _ string) error {
		m, err := b.manager(sb)
		if err != nil {
			return err
		}
		req := distro.Request{Names: names, Arch: b.lock.Arch}
		if b.ref.Kind == manifest.BaseBootstrap { // its sources are the mirror already, which may be the one of this host
			req.AllowExpired = aptrepo.IgnoresValidUntil(aptrepo.FS(os.DirFS("/")))
		} else {
			req.Mirror = b.manifest.Base.Mirror
		}
		p, err := b.ask(ctx, m, sb, req)
		if err != nil {
			return remoteFailure(err)
		}
		b.lock.Packages = p.Packages
		if b.ref.Kind != manifest.BaseBootstrap || b.req.Update != nil {
			b.lock.Repositories = p.Repositories
		}
		return nil
	})
}

// packagesKey is the digest of everything a package layer depends on.
func (b *build) packagesKey() (digest.Digest, error) {
	body, err := json.Marshal(struct {
		Domain      string
		Base        digest.Digest
		Environment int64
		Epoch       int64
		Packages    []manifest.Package
		Volatile    []string
	}{"karapace package layer 1", b.base.ID, b.lock.BuildEnvironment, b.lock.SourceDateEpoch, b.lock.Packages, b.volatile()})
	if err != nil {
		return "", fmt.Errorf("encode package inputs: %w", err)
	}
	return digest.FromBytes(body), nil
}

// volatile are the paths that the lock leaves out.
func (b *build) volatile() []string {
	var paths []string
	for _, v := range b.lock.Volatile {
		paths = append(paths, v.Path)
	}
	return paths
}

// ensurePackages finds the package layer in the store or makes it. Without packages there is none.
func (b *build) ensurePackages(ctx context.Context) error {
	if len(b.lock.Packages) == 0 {
		return nil
	}
	key, err := b.packagesKey()
	if err != nil {
		return err
	}
	return b.exclusive(ctx, key, func() error {
		found, err := b.find(key, &b.packages)
		if found || err != nil {
			return err
		}
		if err := b.timed("fetch packages", func() error {
			return remoteFailure(b.fetch.Fetch(ctx, "packages", b.packageFiles(b.lock.Packages)))
		}); err != nil {
			return err
		}
		return b.timed("install packages", func() error { return b.install(ctx, key) })
	})
}

// install runs the package manager on the base and makes what it wrote a layer.
func (b *build) install(ctx context.Context, key digest.Digest) error {
	return b.onBase("install", func(sb *sandbox, upper string) error {
		m, err := b.manager(sb)
		if err != nil {
			return err
		}
		if err := m.Install(ctx, sb, b.fetch, b.lock.Packages); err != nil {
			return installFailure(err)
		}
		if err := sb.unmount(); err != nil {
			return err
		}
		early := b.startSync(upper)
		if err := fstree.Normalise(ctx, upper, fstree.NormaliseOptions{
			Epoch: b.lock.SourceDateEpoch, Lowers: []string{b.base.Dir}, Policy: policy(distro.VolatileLayer(m.Name()), b.volatile()), Fuse: sb.fuse,
		}); err != nil {
			return failure.New(failure.General, fmt.Errorf("capture packages: %w", err), "")
		}
		made, err := b.adopt(ctx, upper, b.base.ID, early)
		if err != nil {
			return err
		}
		b.packages = made
		return b.remember(key, "packages", made)
	})
}

// installFailure tells a file that cannot be had from a package that cannot be installed.
func installFailure(err error) error {
	var missing *fetch.MissingError
	var corrupt *fetch.CorruptError
	if errors.As(err, &missing) || errors.As(err, &corrupt) {
		return remoteFailure(err)
	}
	return failure.New(failure.General, err, "")
}

// onBase calls f with a sandbox whose root is the base with a throw-away layer, upper, on top.
func (b *build) onBase(kind string, f func(sb *sandbox, upper string) error) error {
	return b.onLayers(kind, b.base.Dir, f)
}

// onLayers is onBase for any directories, top first, with colons between them.
func (b *build) onLayers(kind, lower string, f func(sb *sandbox, upper string) error) error {
	scratch, err := b.scratch(kind)
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	defer b.drop(scratch)
	sb, err := b.newSandbox(scratch, b.lock.SourceDateEpoch)
	if err != nil {
		return err
	}
	upper, work := filepath.Join(scratch.Dir, "upper"), filepath.Join(scratch.Dir, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return failure.New(failure.Store, err, "")
		}
	}
	if sb.fuse, err = b.mountOverlay(sb.root, lower, upper, work); err != nil {
		return failure.New(failure.Backend, err, "karapace doctor")
	}
	sb.mounted = true
	defer sb.unmount()
	return f(sb, upper)
}
