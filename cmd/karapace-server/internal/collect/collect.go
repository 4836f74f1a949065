// Package collect removes from storage what nothing needs any more, beside a running server.
//
// A manifest is live if it is there (or, where only tagged ones are to stay, if a tag leads to it, it refers to one that
// is live, or it is young). A link of a blob is live if a live manifest of its repository needs it, or it is young: then it
// may belong to a push that has not come to its manifest. Content is live if a live link leads to it. Young is what was
// written within the least age.
//
// Manifests are read without a lock. Then, with the lock that keeps the server from committing, links are listed once
// more, what is new is read, and the rest is removed: links first, content last, so that being killed leaves
// only more to collect.
package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
	"github.com/karapace/karapace/cmd/karapace-server/internal/registry"
)

// Options say what to remove.
type Options struct {
	DryRun       bool
	Untagged     bool          // manifests that no tag leads to, too
	MinAge       time.Duration // what is younger stays
	UploadExpiry time.Duration // uploads that began earlier are abandoned
	Now          time.Time
}

// Removed is one thing that was, or would be, removed.
type Removed struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

// Report is the result of a run.
type Report struct {
	DryRun  bool      `json:"dry_run"`
	Removed []Removed `json:"removed"`
	Bytes   int64     `json:"bytes"`
}

// Locker keeps a server from committing.
type Locker interface {
	Alone(context.Context) (io.Closer, error)
}

// node is what is known of one manifest.
type node struct {
	needs   []digest.Digest
	subject digest.Digest
	missing bool
}

type run struct {
	driver driver.StorageDriver
	o      Options
	nodes  map[digest.Digest]node
	report Report
}

// Run collects garbage. What it had removed before an error is in the report.
func Run(ctx context.Context, d driver.StorageDriver, lock Locker, o Options) (Report, error) {
	r := &run{driver: d, o: o, nodes: map[digest.Digest]node{}, report: Report{DryRun: o.DryRun, Removed: []Removed{}}}
	if err := r.ahead(ctx); err != nil {
		return r.report, err
	}
	held, err := lock.Alone(ctx)
	if err != nil {
		return r.report, err
	}
	err = r.sweep(ctx)
	return r.report, errors.Join(err, held.Close())
}

// ahead reads most manifests before the lock is taken. What clients delete meanwhile may end it early: it only saves time.
func (r *run) ahead(ctx context.Context) error {
	v, err := scan(ctx, r.driver)
	if err == nil {
		err = r.read(ctx, v)
	}
	if err != nil && !vanished(err) {
		return err
	}
	return nil
}

// vanished tells whether err comes from something that went while it was looked at.
func vanished(err error) bool {
	var wrapped driver.Error
	if errors.As(err, &wrapped) { // which hides its cause from errors.Is
		err = wrapped.Detail
	}
	return layout.IsMissing(err) || errors.Is(err, fs.ErrNotExist)
}

// read learns what every manifest needs, as far as it is not known.
func (r *run) read(ctx context.Context, v *view) error {
	for _, repo := range v.repos {
		for _, l := range repo.manifests {
			if _, known := r.nodes[l.target]; known {
				continue
			}
			n, err := r.parse(ctx, l.target)
			if err != nil {
				return err
			}
			r.nodes[l.target] = n
		}
	}
	return nil
}

func (r *run) parse(ctx context.Context, d digest.Digest) (node, error) {
	doc, err := r.document(ctx, d)
	if layout.IsMissing(err) {
		return node{missing: true}, nil
	}
	if err != nil {
		return node{}, err
	}
	var n node
	for _, ref := range doc.References() {
		n.needs = append(n.needs, ref.Digest)
	}
	if doc.Subject != nil {
		n.subject = doc.Subject.Digest
	}
	return n, nil
}

func (r *run) document(ctx context.Context, d digest.Digest) (registry.Document, error) {
	var doc registry.Document
	content, err := r.driver.GetContent(ctx, layout.Blob(d))
	if err != nil {
		return doc, err
	}
	if digest.FromBytes(content) != d {
		return doc, fmt.Errorf("manifest %s is damaged in storage; nothing has been removed. Push it again, or delete it", d)
	}
	if err := json.Unmarshal(content, &doc); err != nil {
		return doc, fmt.Errorf("manifest %s: %w", d, err)
	}
	return doc, nil
}

// sweep decides and removes. The lock is held.
func (r *run) sweep(ctx context.Context) error {
	v, err := scan(ctx, r.driver)
	if err != nil {
		return err
	}
	if err := r.read(ctx, v); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *view) error{r.sweepManifests, r.sweepLayers, r.sweepReferrers, r.sweepBlobs, r.sweepUploads, r.sweepRepositories} {
		if err := step(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) young(t time.Time) bool { return r.o.Now.Sub(t) < r.o.MinAge }

// remove deletes a path, unless this is a rehearsal.
func (r *run) remove(ctx context.Context, p string, what Removed) error {
	if !r.o.DryRun {
		if err := r.driver.Delete(ctx, p); err != nil && !layout.IsMissing(err) {
			return fmt.Errorf("removing %s %s: %w", what.Kind, what.ID, err)
		}
	}
	r.report.Removed = append(r.report.Removed, what)
	r.report.Bytes += what.Size
	return nil
}

// sweepUploads lets the library remove abandoned uploads.
func (r *run) sweepUploads(ctx context.Context, v *view) error {
	if len(v.repos) == 0 {
		return nil // the library takes a storage that is new for one that is broken
	}
	gone, errs := storage.PurgeUploads(ctx, r.driver, r.o.Now.Add(-r.o.UploadExpiry), !r.o.DryRun)
	for _, id := range gone {
		r.report.Removed = append(r.report.Removed, Removed{Kind: "upload", ID: id, Reason: "abandoned"})
	}
	for _, err := range errs {
		if !layout.IsMissing(err) {
			return err
		}
	}
	return nil
}
