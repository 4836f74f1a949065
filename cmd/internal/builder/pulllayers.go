package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
	"github.com/karapace/karapace/storage/ociimage"
)

// plainDigest is the digest of the image that a manifest stands for, whatever its layers are compressed with.
func plainDigest(m *ispec.Manifest, stack []layers.Layer) (digest.Digest, error) {
	var plain []ociimage.Layer
	for _, l := range stack {
		plain = append(plain, ociimage.Layer{DiffID: l.DiffID, Size: l.Size})
	}
	body, err := ociimage.Plain(m, plain)
	return digest.FromBytes(body), err
}

// bytesOnly tells of the bytes of several transfers as of one, whose beginning and end others tell.
type bytesOnly struct{ tell *teller }

func (bytesOnly) Start(string, int, int64) {}
func (b bytesOnly) Add(n int64)            { b.tell.Add(n) }
func (bytesOnly) Done()                    {}

// takeLayers brings the layers that the store lacks. The next one arrives while one is unpacked.
func (p *pulling) takeLayers(ctx context.Context) error {
	store, err := p.layers()
	if err != nil {
		return err
	}
	ids := p.image.RootFS.DiffIDs
	var missing []ispec.Descriptor
	for n, d := range p.manifest.Layers {
		if _, there := store.Lookup(ids[n]); !there {
			missing = append(missing, d)
		}
	}
	arriving, end := p.arrive(ctx, missing)
	defer end()
	for n, into := range []*layer{&p.base, &p.packages}[:len(ids)] {
		parent := digest.Digest("")
		if n > 0 {
			parent = p.base.ID
		}
		if err := p.takeLayer(ctx, p.manifest.Layers[n], ids[n], parent, arriving[p.manifest.Layers[n].Digest], into); err != nil {
			return err
		}
	}
	return nil
}

// arrive begins to bring blobs, and tells when each is there. end gives up those that are not.
func (p *pulling) arrive(ctx context.Context, blobs []ispec.Descriptor) (arriving map[digest.Digest]<-chan error, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	p.tell.Start("layers", len(blobs), sizes(blobs))
	arriving = map[digest.Digest]<-chan error{}
	for _, d := range blobs {
		done := make(chan error, 1)
		arriving[d.Digest] = done
		all.Go(func() {
			defer close(done)
			done <- p.at.fetch.Fetch(ctx, "layer", p.at.files([]ispec.Descriptor{d}))
		})
	}
	return arriving, func() {
		cancel()
		all.Wait()
		if len(blobs) > 0 {
			p.tell.Done()
		}
	}
}

func sizes(blobs []ispec.Descriptor) (total int64) {
	for _, d := range blobs {
		total += d.Size
	}
	return total
}

// takeLayer makes a blob that arrives a layer of the store. Two pulls do not unpack the same one at once.
func (p *pulling) takeLayer(ctx context.Context, d ispec.Descriptor, id, parent digest.Digest, arriving <-chan error, into *layer) error {
	if err := id.Validate(); err != nil || id.Algorithm() != digest.SHA256 {
		return p.bad(fmt.Errorf("diffID %.100q is not a sha256", id))
	}
	return p.exclusive(ctx, id, func() error {
		store, err := p.layers()
		if err != nil {
			return err
		}
		if l, there := store.Lookup(id); there {
			*into = layer{ID: id, Dir: l.Dir, Link: l.Link, Size: l.Size}
			return nil
		}
		if arriving != nil {
			select {
			case err = <-arriving:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		} else { // it was there before, and is gone
			err = p.at.fetch.Fetch(ctx, "layer", p.at.files([]ispec.Descriptor{d}))
		}
		if err != nil {
			return remoteFailure(err)
		}
		return p.timed("unpack layer "+id.Encoded()[:12], func() error { return p.unpackLayer(ctx, store, d, id, parent, into) })
	})
}

func (p *pulling) unpackLayer(ctx context.Context, store *layers.Store, d ispec.Descriptor, id, parent digest.Digest, into *layer) error {
	scratch, err := p.store.Scratch("pull")
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	defer p.drop(scratch)
	root := filepath.Join(scratch.Dir, "root")
	size, err := p.unpackTo(ctx, root, d, id, false)
	if err != nil {
		return err
	}
	l, err := store.Adopt(ctx, root, parent, id, size)
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	*into = layer{ID: id, Dir: l.Dir, Link: l.Link, Size: size}
	return nil
}

// unpackTo makes the tree of a blob in the new directory dir, which then is what the diffID says, and tells its size. The blob stays if
// it is needed again.
func (p *pulling) unpackTo(ctx context.Context, dir string, d ispec.Descriptor, id digest.Digest, again bool) (int64, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, failure.New(failure.Store, err, "")
	}
	got, err := p.blobs.UnpackLayer(ctx, dir, d)
	if !again {
		_ = os.Remove(p.at.fetch.Path(d.Digest.Encoded())) // before the disk sees it; a damaged one comes again
	}
	if err != nil {
		return 0, p.bad(err)
	}
	if got != id {
		return 0, p.bad(fmt.Errorf("blob %s holds the archive %s instead of %s", d.Digest, got, id))
	}
	early := p.startSync(dir)
	got, size, err := fstree.Digest(ctx, dir)
	if err = errors.Join(err, <-early); err != nil {
		return 0, failure.New(failure.Store, err, "")
	}
	if got != id {
		return 0, p.bad(fmt.Errorf("blob %s is not in the canonical form of layers: the archive %s unpacks to %s", d.Digest, id, got))
	}
	return size, nil
}

// pulledSnapshots are snapshots on their way into the environment's directory.
type pulledSnapshots struct {
	scratch *storage.Scratch
	list    snapshotList
	parts   []ispec.Descriptor
}

// findSnapshots reads the list of snapshots, if they are wanted; nil when there are none.
func (p *pulling) findSnapshots(ctx context.Context) (*pulledSnapshots, error) {
	if !p.req.Snapshots {
		return nil, nil
	}
	all, err := p.at.about(ctx, p.subject(), artifactSnapshots)
	if err != nil {
		return nil, err
	}
	var unverified error
	for _, m := range all {
		if m.Annotations[labelEnvID] != string(p.lock.ID()) {
			continue
		}
		var others unsigned
		switch err := p.at.verify(ctx, m.name); {
		case errors.As(err, &others): // anybody may have put it there
			if unverified == nil {
				unverified = err
			}
			continue
		case err != nil:
			return nil, err
		}
		s := &pulledSnapshots{parts: m.Layers}
		return s, p.bad(p.readSnapshotList(ctx, m.Manifest, s))
	}
	if unverified == nil {
		p.tell.Note("no snapshots were pushed with " + p.at.ref.String())
	}
	return nil, unverified
}

func (p *pulling) readSnapshotList(ctx context.Context, m *ispec.Manifest, s *pulledSnapshots) error {
	if m.Config.MediaType != typeSnapshot || m.Config.Size > snapshotListLimit {
		return fmt.Errorf("its list of snapshots is of the type %.80q and has %d bytes", m.Config.MediaType, m.Config.Size)
	}
	if err := p.at.bring(ctx, m.Config); err != nil {
		return remoteFailure(err)
	}
	text, err := p.blobs.ReadDocument(m.Config)
	if err != nil {
		return err
	}
	return s.list.read(text, m.Layers)
}

// takeSnapshots brings the layers of snapshots. The environment's directory gets them when it is prepared.
func (p *pulling) takeSnapshots(ctx context.Context, s *pulledSnapshots) error {
	scratch, err := p.store.Scratch("snapshots")
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	s.scratch = scratch
	p.tell.Start("snapshots", len(s.parts), sizes(s.parts))
	err = p.at.fetch.Fetch(ctx, "snapshots", p.at.files(s.parts))
	p.tell.Done()
	if err != nil {
		p.drop(scratch)
		return remoteFailure(err)
	}
	for n := range s.list.Snapshots {
		snap := &s.list.Snapshots[n]
		snap.Dir = fmt.Sprintf("%s%d", storage.UpperPrefix, n+1)
		again := slices.ContainsFunc(s.parts[n+1:], func(d ispec.Descriptor) bool { return d.Digest == s.parts[n].Digest })
		if snap.Size, err = p.unpackTo(ctx, filepath.Join(scratch.Dir, snap.Dir), s.parts[n], snap.Layer, again); err != nil {
			p.drop(scratch)
			return err
		}
	}
	p.extra = s.move
	return nil
}

// move puts the snapshots into the directory of an environment that is being prepared, and names them in its record.
func (s *pulledSnapshots) move(dir string, r *storage.Record) error {
	for _, snap := range s.list.Snapshots {
		if err := os.Rename(filepath.Join(s.scratch.Dir, snap.Dir), filepath.Join(dir, snap.Dir)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	r.Snapshots, r.Current = s.list.Snapshots, s.list.Current
	return nil
}

// takePackages brings the files that building the lock takes into the vault.
func (p *pulling) takePackages(ctx context.Context) (int, error) {
	all, err := p.at.about(ctx, p.subject(), artifactPackages)
	if err != nil {
		return 0, err
	}
	into := *p.at
	if err := into.into(p.worker, fetch.Options{Vault: p.store.Path("vault")}, p.config); err != nil {
		return 0, err
	}
	for _, m := range all {
		if m.Annotations[labelEnvID] != string(p.lock.ID()) {
			continue
		}
		return p.bringInputs(ctx, &into, m.Manifest)
	}
	return 0, p.bad(errors.New("its packages were not pushed with it (karapace push --with-packages)"))
}

// bringInputs brings the files of the artifact that the lock names; others are nobody's business.
func (p *pulling) bringInputs(ctx context.Context, into *remote, m *ispec.Manifest) (int, error) {
	there := map[string]ispec.Descriptor{}
	for _, d := range m.Layers {
		there[d.Digest.Encoded()] = d
	}
	brought := map[string]bool{}
	for { // the documents of a base image tell of its layers
		files, err := inputs(p.lock, into.fetch.Path)
		if err != nil {
			return 0, err
		}
		var next []ispec.Descriptor
		for _, f := range files {
			d, ok := there[f.SHA256]
			if !ok {
				return 0, p.bad(fmt.Errorf("its packages are not all there: %s is missing", f.SHA256))
			}
			if !brought[f.SHA256] {
				brought[f.SHA256] = true
				d.MediaType = typePackage
				next = append(next, d)
			}
		}
		if len(next) == 0 {
			return len(brought), nil
		}
		if err := into.fetch.Fetch(ctx, "packages", into.files(next)); err != nil {
			return 0, remoteFailure(err)
		}
	}
}
