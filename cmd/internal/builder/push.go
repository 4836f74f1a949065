package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/cosign"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/ociimage"
	"github.com/karapace/karapace/storage/registry"
)

// pushing is one Push request on its way. What a name makes visible comes last: first all blobs, then what refers to the
// image, then the image under its tag.
type pushing struct {
	*worker
	*remote
	req    *wire.Push
	config *manifest.Config
	record *storage.Record
	lock   *manifest.Lock
	key    *cosign.PrivateKey // nil: nothing is signed
	up     *registry.Upload   // whose manifests get no tag
	res    *wire.PushResult
	mu     sync.Mutex // progress
}

func (w *worker) push(ctx context.Context, req *wire.Push) (*wire.PushResult, error) {
	p := &pushing{worker: w, req: req, res: &wire.PushResult{}}
	var err error
	if p.config, err = configuration(req.ConfigFile, req.Config); err != nil {
		return nil, err
	}
	if p.key, err = signingKey(req.SignKey); err != nil {
		return nil, err
	}
	settled, err := w.store.SettledIn(ctx, req.EnvID)
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	defer settled.Unlock()
	if p.record, err = w.store.Record(req.EnvID); err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	if p.lock, err = w.lockOf(p.record); err != nil {
		return nil, err
	}
	scratch, err := w.store.Scratch("push")
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	defer w.drop(scratch)
	return p.res, p.run(ctx, scratch.Dir)
}

// lockOf reads the lock of an environment.
func (w *worker) lockOf(r *storage.Record) (*manifest.Lock, error) {
	file := w.store.EnvDir(r.EnvID, "karapace.lock")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, lost(r, err)
	}
	l, err := manifest.ParseLock(file, text)
	if err == nil && l.ID() != r.EnvID {
		err = fmt.Errorf("its lock is that of environment %s", l.ID().Short())
	}
	if err != nil {
		return nil, lost(r, err)
	}
	return l, nil
}

func (p *pushing) run(ctx context.Context, scratch string) error {
	ref, err := manifest.ParseImageRef(p.req.Ref)
	if err != nil {
		return failure.New(failure.Usage, err, "")
	}
	if p.remote, err = p.connect(ctx, ref, p.config, p.req.Remote, false); err != nil {
		return err
	}
	p.res.Ref = ref.String()
	p.up = p.client.Upload("", p.sources(), scratch, p.moved)
	if err := p.up.Ready(ctx); err != nil {
		return failure.New(failure.Remote, err, "")
	}
	if err := p.send(ctx, ref.Reference()); err != nil {
		return pushFailure(err)
	}
	p.res.Sent, p.res.Kept, p.res.Mounted = p.up.Counts()
	p.note()
	return nil
}

// pushFailure gives what went wrong with sending its kind. What is wrong with what is sent has one.
func pushFailure(err error) error {
	var have *failure.Error
	if errors.As(err, &have) {
		return have
	}
	return remoteFailure(err)
}

func (p *pushing) send(ctx context.Context, tag string) error {
	img, err := p.storedImage(p.record)
	if err != nil {
		return err
	}
	if !namesLock(img.Config, p.record.EnvID) {
		return failure.New(failure.Store, fmt.Errorf("environment %s was built by a version whose images do not name their lock", p.record.Title()),
			"karapace lock --update and karapace rebuild, in the directory of its manifest, make one that can be pulled")
	}
	c, err := ociimage.ParseCompression(cmp.Or(p.req.Compression, p.config.Registry(p.ref.Registry).Compression, string(ociimage.None)))
	if err != nil {
		return failure.New(failure.Usage, err, "")
	}
	p.tell.Step("push " + p.record.Title() + " to " + p.name())
	later := &deferred{Upload: p.up}
	d, err := p.sendImage(ctx, img, later, c)
	if err != nil {
		return err
	}
	p.res.Image, p.res.Digest = img.Digest, d.Digest
	if err := p.up.Manifest(ctx, d, later.body); err != nil { // by its digest, for what refers to it
		return err
	}
	if err := p.sendArtifacts(ctx, d); err != nil {
		return err
	}
	return p.up.Tagged(tag).Manifest(ctx, d, later.body)
}

func (p *pushing) sendImage(ctx context.Context, img *ociimage.Image, to ociimage.Sink, c ociimage.Compression) (ispec.Descriptor, error) {
	var total int64 // nobody knows it beforehand when it is compressed
	if c == ociimage.None {
		total = int64(len(img.Config))
		for _, l := range img.Layers {
			total += l.Size
		}
	}
	p.tell.Start("push", len(img.Layers), total)
	defer p.tell.Done()
	return ociimage.Send(ctx, img, to, ociimage.Options{Compression: c})
}

// moved is told by several goroutines.
func (p *pushing) moved(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell.Add(bytes)
}

// deferred keeps the manifest back: what refers to the image is sent before the image gets its name.
type deferred struct {
	*registry.Upload
	body []byte
}

func (d *deferred) Manifest(_ context.Context, _ ispec.Descriptor, body []byte) error {
	d.body = body
	return nil
}

// sendArtifacts sends what travels beside the image.
func (p *pushing) sendArtifacts(ctx context.Context, image ispec.Descriptor) error {
	subject := ispec.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size}
	if err := p.sendLock(ctx, subject); err != nil {
		return err
	}
	if p.req.Snapshots && len(p.record.Snapshots) > 0 {
		if err := p.sendSnapshots(ctx, subject); err != nil {
			return err
		}
	}
	if p.req.Packages {
		if err := p.sendPackages(ctx, subject); err != nil {
			return err
		}
	}
	return p.signIt(ctx, image.Digest)
}

func (p *pushing) signIt(ctx context.Context, d digest.Digest) error {
	if p.key == nil {
		return nil
	}
	p.res.Signed = true
	return p.remote.sign(ctx, p.key, p.up, d)
}

func (p *pushing) sendLock(ctx context.Context, subject ispec.Descriptor) error {
	text := p.lock.Encode()
	m := newArtifact(artifactLock, subject)
	m.Annotations = map[string]string{labelEnvID: string(p.lock.ID())}
	m.Layers = []ispec.Descriptor{{MediaType: typeLock, Digest: digest.FromBytes(text), Size: int64(len(text)), Annotations: map[string]string{ispec.AnnotationTitle: "karapace.lock"}}}
	return sendDocuments(ctx, p.up, m, map[digest.Digest][]byte{m.Layers[0].Digest: text, m.Config.Digest: m.Config.Data})
}

// sendSnapshots sends the layers of all snapshots, oldest first, as plain tars, and the list of them.
func (p *pushing) sendSnapshots(ctx context.Context, subject ispec.Descriptor) error {
	list := snapshotList{Version: 1, Current: p.record.Current, Snapshots: slices.Clone(p.record.Snapshots)}
	m := newArtifact(artifactSnapshots, subject)
	m.Annotations = map[string]string{labelEnvID: string(p.lock.ID())}
	for n, s := range p.record.Snapshots {
		list.Snapshots[n].Dir = "" // a place in this store
		l := treeLayer(p.record, s.Layer, s.Size, p.store.EnvDir(p.record.EnvID, s.Dir), lostSnapshot)
		d, err := p.up.Blob(ctx, ispec.Descriptor{MediaType: ispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size}, l.Write)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode snapshots: %w", err)
	}
	m.Config = ispec.Descriptor{MediaType: typeSnapshot, Digest: digest.FromBytes(text), Size: int64(len(text))}
	p.res.Snapshot = len(list.Snapshots)
	last, err := p.lastPushed(ctx, m)
	if err != nil {
		return err
	}
	if last != nil { // the same but for its time, and not only by its word
		m.Annotations[ispec.AnnotationCreated] = pushed(last.Annotations)
		same, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if digest.FromBytes(same) == last.name {
			return p.signIt(ctx, last.name)
		}
	}
	m.Annotations[ispec.AnnotationCreated] = after(last)
	if err := sendDocuments(ctx, p.up, m, map[digest.Digest][]byte{m.Config.Digest: text}); err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return p.signIt(ctx, digest.FromBytes(body))
}

// lastPushed is the artifact of this environment and kind that a pull would take now; nil when there is none.
func (p *pushing) lastPushed(ctx context.Context, m *ispec.Manifest) (*artifact, error) {
	all, err := p.about(ctx, *m.Subject, m.ArtifactType)
	for _, a := range all {
		if a.Annotations[labelEnvID] == m.Annotations[labelEnvID] {
			return &a, err
		}
	}
	return nil, err
}

// aheadLimit is how far other clocks may be ahead to be believed.
const aheadLimit = 24 * time.Hour

// after is the time of a push that comes after another one, whatever the clocks say.
func after(last *artifact) string {
	now := time.Now()
	if last != nil {
		then, err := time.Parse(time.RFC3339, pushed(last.Annotations))
		if err == nil && !now.Truncate(time.Second).After(then) && then.Sub(now) < aheadLimit {
			now = then.Add(time.Second)
		}
	}
	return now.UTC().Format(time.RFC3339)
}

// sendPackages sends the files that building the lock takes.
func (p *pushing) sendPackages(ctx context.Context, subject ispec.Descriptor) error {
	vault, err := fetch.New(fetch.Options{Vault: p.store.Path("vault"), Offline: true})
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	files, err := inputs(p.lock, vault.Path)
	if err != nil {
		return err
	}
	if err := vault.Missing(files); err != nil {
		return failure.New(failure.Store, fmt.Errorf("the packages of environment %s are not all here to be pushed: %w", p.record.Title(), err), "karapace fetch, in the directory of its manifest, brings them")
	}
	m := newArtifact(artifactPackages, subject)
	m.Annotations = map[string]string{labelEnvID: string(p.lock.ID())}
	for _, f := range files {
		info, err := os.Stat(vault.Path(f.SHA256))
		if err != nil {
			return failure.New(failure.Store, err, "")
		}
		d := ispec.Descriptor{MediaType: typePackage, Digest: digest.NewDigestFromEncoded(digest.SHA256, f.SHA256), Size: info.Size()}
		d.Annotations = map[string]string{ispec.AnnotationTitle: filepath.Base(f.URL)}
		m.Layers = append(m.Layers, d)
	}
	if err := p.sendFiles(ctx, vault, m.Layers); err != nil {
		return err
	}
	p.res.Packages = len(files)
	return sendDocuments(ctx, p.up, m, map[digest.Digest][]byte{m.Config.Digest: m.Config.Data})
}

// vaultFile writes a file of the vault, verified.
func vaultFile(vault *fetch.Client, d digest.Digest) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		f, err := vault.Open(d.Encoded())
		if err != nil {
			return failure.New(failure.Store, err, "")
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		var damage *fetch.CorruptError
		if errors.As(err, &damage) {
			return remoteFailure(damage)
		}
		return err
	}
}

// places is what a store knows of a registry: the repositories it has pushed to, the last one first. What is in one need
// not be sent to another.
type places struct {
	Repositories []string `json:"repositories"`
}

const maxPlaces = 8

func (p *pushing) placesFile() string {
	return p.store.Path("pushed", digest.FromString(p.ref.Registry).Encoded()+".json")
}

// sources are the repositories that may have blobs already.
func (p *pushing) sources() []string {
	all := slices.Concat(p.req.MountFrom, p.known())
	seen := map[string]bool{p.ref.Repository: true}
	return slices.DeleteFunc(all, func(r string) bool { defer func() { seen[r] = true }(); return seen[r] })
}

func (p *pushing) known() []string {
	var known places
	text, err := os.ReadFile(p.placesFile())
	if err != nil || json.Unmarshal(text, &known) != nil {
		return nil
	}
	return known.Repositories
}

// note remembers where this went. Failing costs time some day, nothing else.
func (p *pushing) note() {
	all := append([]string{p.ref.Repository}, slices.DeleteFunc(p.known(), func(r string) bool { return r == p.ref.Repository })...)
	text, err := json.Marshal(places{all[:min(len(all), maxPlaces)]})
	if err == nil && os.MkdirAll(filepath.Dir(p.placesFile()), 0o755) == nil {
		_ = storage.WriteFile(p.placesFile(), text, 0o644)
	}
}

// sendFiles sends files of the vault, several at once.
func (p *pushing) sendFiles(ctx context.Context, vault *fetch.Client, files []ispec.Descriptor) error {
	byDigest := map[digest.Digest]ispec.Descriptor{}
	var total int64
	for _, d := range files {
		byDigest[d.Digest] = d
		total += d.Size
	}
	p.tell.Start("push packages", len(byDigest), total)
	defer p.tell.Done()
	return parallel(ctx, slices.Collect(maps.Values(byDigest)), func(ctx context.Context, d ispec.Descriptor) error {
		_, err := p.up.Blob(ctx, d, vaultFile(vault, d.Digest))
		return err
	})
}
