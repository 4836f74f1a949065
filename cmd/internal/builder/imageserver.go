package builder

import (
	"context"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/storage/images/simplestreams"
)

// resolveAlias asks the image servers for a distribution's name and brings the image into the vault.
func (b *build) resolveAlias(ctx context.Context) error {
	item, err := b.findImage(ctx)
	if err != nil {
		return err
	}
	f := distro.File{URL: item.URL, SHA256: item.SHA256, Size: item.Size}
	if err := b.fetch.Fetch(ctx, "base image", []distro.File{f}); err != nil {
		return remoteFailure(err)
	}
	b.lock.BaseImageLocation, b.lock.BaseImageDigest = item.URL, digest.NewDigestFromEncoded(digest.SHA256, item.SHA256)
	return nil
}

// fetchArchive brings the archive at base.image's URL into the vault. With a digest there, it may be in it already.
func (b *build) fetchArchive(ctx context.Context) (digest.Digest, error) {
	if d := b.ref.Digest; d != "" {
		return d, remoteFailure(b.fetch.Fetch(ctx, "base image", []distro.File{{URL: b.ref.URL, SHA256: d.Encoded()}}))
	}
	f, err := b.fetch.Add(ctx, "base image", distro.Document{URL: b.ref.URL, Limit: archiveLimit})
	if err != nil {
		return "", remoteFailure(err)
	}
	return digest.NewDigestFromEncoded(digest.SHA256, f.SHA256), nil
}

func (b *build) findImage(ctx context.Context) (*simplestreams.Item, error) {
	keys, err := b.imageKeys()
	if err != nil {
		return nil, failure.New(failure.General, fmt.Errorf("image_keyring of %s: %w", b.req.ConfigFile, err), "")
	}
	servers := &simplestreams.Servers{URLs: b.imageServers(), Keys: keys, Fetcher: b.remote()}
	item, err := servers.Resolve(ctx, simplestreams.Query{Distro: b.ref.Distro, Release: b.ref.Release, Arch: b.lock.Arch})
	if err != nil {
		return nil, remoteFailure(fmt.Errorf("base image %s: %w", b.manifest.Base.Image, err))
	}
	return item, nil
}

// imageServers are those of the command line or the environment, else the configured ones, else the built-in one.
func (b *build) imageServers() []string {
	for _, list := range [][]string{b.req.ImageServers, b.config.ImageServers} {
		if len(list) > 0 {
			return list
		}
	}
	return []string{simplestreams.DefaultServer}
}

func (b *build) imageKeys() (pgp.KeyRing, error) {
	if b.config.ImageKeyring == "" {
		return pgp.KeyRing{}, nil
	}
	data, err := os.ReadFile(b.config.ImageKeyring)
	if err != nil {
		return pgp.KeyRing{}, err
	}
	return pgp.ReadKeyRing(data)
}

// checkOffline tells at once everything that building from a lock would need of the network.
func (b *build) checkOffline() error {
	if !b.req.Offline {
		return nil
	}
	need, err := b.lacking()
	if err != nil {
		return err
	}
	return remoteFailure(b.fetch.Missing(need))
}

// lacking lists the files that the layers which are not in the store are made of.
func (b *build) lacking() ([]distro.File, error) {
	key, err := b.baseKey()
	if err != nil {
		return nil, err
	}
	if found, err := b.find(key, &b.base); err != nil {
		return nil, err
	} else if !found && b.base.ID == "" {
		return append(b.baseFiles(), b.packageFiles(b.lock.Packages)...), nil
	}
	if key, err = b.packagesKey(); err != nil {
		return nil, err
	}
	if found, err := b.find(key, &b.packages); found || err != nil {
		return nil, err
	}
	return b.packageFiles(b.lock.Packages), nil
}

// baseFiles are what the locked base is made of, if it comes from elsewhere. No lock knows the size of an archive.
func (b *build) baseFiles() []distro.File {
	switch b.ref.Kind {
	case manifest.BaseBootstrap:
		return b.packageFiles(b.lock.BasePackages)
	case manifest.BasePath:
		return nil
	case manifest.BaseRegistry:
		return b.registryFiles()
	}
	return []distro.File{{URL: b.lock.BaseImageLocation, SHA256: b.lock.BaseImageDigest.Encoded()}}
}

// pin finds what base.image means now, in the form that means it for ever.
func (b *build) pin(ctx context.Context) (string, error) {
	b.lock = &manifest.Lock{Arch: b.manifest.Base.Arch}
	ref := b.ref
	switch ref.Kind {
	case manifest.BaseAlias:
		item, err := b.findImage(ctx)
		if err != nil {
			return "", err
		}
		ref = manifest.BaseRef{Kind: manifest.BaseArchive, URL: item.URL, Digest: digest.NewDigestFromEncoded(digest.SHA256, item.SHA256)}
	case manifest.BaseArchive:
		var err error
		if ref.Digest, err = b.fetchArchive(ctx); err != nil {
			return "", err
		}
	case manifest.BasePath:
		src, _, err := b.openBase(b.path())
		if err != nil {
			return "", err
		}
		if ref.Digest, err = src.Digest(ctx); err != nil {
			return "", failure.New(failure.Manifest, fmt.Errorf("base image %s: %w", ref.Path, err), "")
		}
	case manifest.BaseBootstrap:
		if err := b.resolveBootstrap(ctx); err != nil {
			return "", err
		}
		ref.Digest = b.lock.BaseImageDigest
	case manifest.BaseRegistry:
		if err := b.resolveRegistry(ctx); err != nil {
			return "", err
		}
		ref.Digest = b.lock.BaseImageDigest
	}
	return ref.String(), nil
}
