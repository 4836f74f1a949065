package collect

import (
	"context"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
)

// link makes content part of a repository under one digest.
type link struct {
	digest digest.Digest
	target digest.Digest // what the content is stored under; another than digest only for aliases
	when   time.Time
	live   bool
}

// repository is what a walk saw of one.
type repository struct {
	manifests map[digest.Digest]*link
	layers    map[digest.Digest]*link
	tags      map[string]digest.Digest
	uploads   bool
}

// view is what a walk saw of everything.
type view struct {
	repos     map[string]*repository
	referrers []string
}

func (v *view) repo(name string) *repository {
	if v.repos[name] == nil {
		v.repos[name] = &repository{manifests: map[digest.Digest]*link{}, layers: map[digest.Digest]*link{}, tags: map[string]digest.Digest{}}
	}
	return v.repos[name]
}

// scan walks through all links.
func scan(ctx context.Context, d driver.StorageDriver) (*view, error) {
	v := &view{repos: map[string]*repository{}}
	err := d.Walk(ctx, layout.Repositories, func(fi driver.FileInfo) error {
		if fi.IsDir() {
			return nil
		}
		return v.note(ctx, d, fi)
	})
	if err != nil && !layout.IsMissing(err) {
		return nil, err
	}
	err = d.Walk(ctx, layout.ReferrerRoot(), func(fi driver.FileInfo) error {
		if !fi.IsDir() {
			v.referrers = append(v.referrers, fi.Path())
		}
		return nil
	})
	if err != nil && !layout.IsMissing(err) {
		return nil, err
	}
	return v, nil
}

func (v *view) note(ctx context.Context, d driver.StorageDriver, fi driver.FileInfo) error {
	p := fi.Path()
	if repo, ok := layout.Upload(p); ok {
		v.repo(repo).uploads = true
		return nil
	}
	if repo, tag, ok := layout.ParseTag(p); ok {
		target, exists, err := layout.ReadLink(ctx, d, p)
		if err == nil && exists {
			v.repo(repo).tags[tag] = target
		}
		return err
	}
	repo, kind, dgst, ok := layout.ParseLink(p)
	if !ok {
		return nil
	}
	l := &link{digest: dgst, target: dgst, when: fi.ModTime()}
	if dgst.Algorithm() != digest.SHA256 {
		target, exists, err := layout.ReadLink(ctx, d, p)
		if err != nil || !exists {
			return err
		}
		l.target = target
	}
	if kind == layout.Layers {
		v.repo(repo).layers[dgst] = l
	} else {
		v.repo(repo).manifests[dgst] = l
	}
	return nil
}
