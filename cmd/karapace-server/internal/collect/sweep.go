package collect

import (
	"context"
	"fmt"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
	"github.com/karapace/karapace/cmd/karapace-server/internal/registry"
)

// sweepManifests marks the live manifests of every repository and removes the links of the others.
func (r *run) sweepManifests(ctx context.Context, v *view) error {
	for name, repo := range v.repos {
		r.mark(repo)
		for _, l := range repo.manifests {
			if l.live {
				continue
			}
			reason := "no tag leads to it"
			if r.nodes[l.target].missing {
				reason = "its content is missing"
			}
			p := layout.Link(name, layout.Manifests, l.digest)
			if err := r.remove(ctx, p, Removed{Kind: "manifest", ID: name + "@" + l.digest.String(), Reason: reason}); err != nil {
				return err
			}
			delete(repo.manifests, l.digest)
		}
	}
	return nil
}

// mark makes live what is young, what is tagged, what these need, and what refers to them.
func (r *run) mark(repo *repository) {
	tagged := map[digest.Digest]bool{}
	for _, target := range repo.tags {
		tagged[target] = true
	}
	for _, l := range repo.manifests {
		switch {
		case r.young(l.when):
			r.markOne(repo, l)
		case r.nodes[l.target].missing:
		case !r.o.Untagged || tagged[l.target]:
			r.markOne(repo, l)
		}
	}
	for again := true; again; {
		again = false
		for _, l := range repo.manifests {
			subject, ok := repo.manifests[r.nodes[l.target].subject]
			if !l.live && ok && subject.live {
				r.markOne(repo, l)
				again = true
			}
		}
	}
}

// markOne makes a manifest live under all its digests, and the manifests it needs.
func (r *run) markOne(repo *repository, l *link) {
	if l.live {
		return
	}
	l.live = true
	for _, other := range repo.manifests {
		if other.target == l.target && other.digest != l.digest {
			r.markOne(repo, other)
		}
	}
	for _, d := range r.nodes[l.target].needs {
		if below, ok := repo.manifests[d]; ok {
			r.markOne(repo, below)
		}
	}
}

// sweepLayers removes the links of blobs that no live manifest of the repository needs.
func (r *run) sweepLayers(ctx context.Context, v *view) error {
	for name, repo := range v.repos {
		needed := map[digest.Digest]bool{}
		for _, l := range repo.manifests {
			for _, d := range r.nodes[l.target].needs {
				needed[d] = true
				if alias, ok := repo.layers[d]; ok {
					needed[alias.target] = true
				}
			}
		}
		for _, l := range repo.layers {
			if needed[l.digest] || needed[l.target] || r.young(l.when) {
				continue
			}
			p := layout.Link(name, layout.Layers, l.digest)
			if err := r.remove(ctx, p, Removed{Kind: "link", ID: name + "@" + l.digest.String(), Reason: "no manifest of the repository needs it"}); err != nil {
				return err
			}
			delete(repo.layers, l.digest)
		}
	}
	return nil
}

// sweepReferrers removes entries of manifests that are gone, and adds those that are missing.
func (r *run) sweepReferrers(ctx context.Context, v *view) error {
	listed := map[string]bool{}
	for _, p := range v.referrers {
		name, subject, d, ok := layout.ParseReferrer(p)
		if repo := v.repos[name]; ok && repo != nil && repo.manifests[d] != nil {
			listed[name+" "+subject.String()+" "+repo.manifests[d].target.String()] = true
			continue
		}
		if err := r.remove(ctx, p, Removed{Kind: "referrer", ID: p, Reason: "its manifest is gone"}); err != nil {
			return err
		}
	}
	for name, repo := range v.repos {
		for _, l := range repo.manifests {
			subject := r.nodes[l.target].subject
			if subject.Validate() != nil || listed[name+" "+subject.String()+" "+l.target.String()] || r.o.DryRun {
				continue
			}
			if err := r.index(ctx, name, subject, l.target); err != nil {
				return err
			}
		}
	}
	return nil
}

// index adds an entry that a registry without the referrers API, or a crash, left out.
func (r *run) index(ctx context.Context, repo string, subject, d digest.Digest) error {
	doc, err := r.document(ctx, d)
	if err != nil {
		return err
	}
	fi, err := r.driver.Stat(ctx, layout.Blob(d))
	if err != nil {
		return err
	}
	return registry.PutReferrer(ctx, r.driver, repo, subject, doc.Descriptor(d, "", int(fi.Size())))
}

// sweepBlobs removes content that no link leads to.
func (r *run) sweepBlobs(ctx context.Context, v *view) error {
	live := map[digest.Digest]bool{}
	for _, repo := range v.repos {
		for _, links := range []map[digest.Digest]*link{repo.manifests, repo.layers} {
			for _, l := range links {
				live[l.target] = true
			}
		}
	}
	var dead []Removed
	err := r.driver.Walk(ctx, layout.Blobs, func(fi driver.FileInfo) error {
		d, ok := layout.ParseBlob(fi.Path())
		if ok && !fi.IsDir() && !live[d] && !r.young(fi.ModTime()) {
			dead = append(dead, Removed{Kind: "blob", ID: d.String(), Size: fi.Size(), Reason: "no repository has it"})
		}
		return nil
	})
	if err != nil && !layout.IsMissing(err) {
		return fmt.Errorf("listing content: %w", err)
	}
	for _, b := range dead {
		if err := r.remove(ctx, layout.Blob(digest.Digest(b.ID)), b); err != nil {
			return err
		}
	}
	return nil
}

// sweepRepositories removes repositories that are empty.
func (r *run) sweepRepositories(ctx context.Context, v *view) error {
	for name, repo := range v.repos {
		if len(repo.manifests) > 0 || len(repo.layers) > 0 || len(repo.tags) > 0 || repo.uploads {
			continue
		}
		for _, part := range []string{"_manifests", "_layers", "_uploads"} {
			if r.o.DryRun {
				break
			}
			if err := r.driver.Delete(ctx, layout.Repositories+"/"+name+"/"+part); err != nil && !layout.IsMissing(err) {
				return err
			}
		}
		r.report.Removed = append(r.report.Removed, Removed{Kind: "repository", ID: name, Reason: "empty"})
	}
	return nil
}
