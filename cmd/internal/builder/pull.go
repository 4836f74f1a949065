package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/images"
	"github.com/karapace/karapace/storage/layers"
)

// pulling is one Pull request on its way. What arrives lies in a vault of its own until its layer is in the store, so
// that an interrupted pull goes on with what is there; the environment appears last, by one rename, as after a build.
type pulling struct {
	*build
	at       *remote
	req      *wire.Pull
	blobs    images.Blobs
	manifest *ispec.Manifest
	image    *ispec.Image // configuration
	digest   digest.Digest
	transit  *transit
}

func (w *worker) pull(ctx context.Context, req *wire.Pull) (*wire.PullResult, error) {
	if err := w.sweep(); err != nil {
		return nil, err
	}
	p := &pulling{req: req, build: &build{worker: w, req: &wire.Build{Name: req.Name, Dir: req.Dir}}}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	defer p.transit.lock.Unlock()
	if err := p.readImage(ctx); err != nil {
		return nil, err
	}
	res := &wire.PullResult{Digest: p.digest, Signed: len(p.at.keys) > 0}
	var err error
	if req.Packages {
		if res.Packages, err = p.takePackages(ctx); err != nil {
			return nil, err
		}
	}
	snapshots, err := p.findSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.takeLayers(ctx); err != nil {
		return nil, err
	}
	if err := p.takeImage(ctx); err != nil {
		return nil, err
	}
	if snapshots != nil {
		if err := p.takeSnapshots(ctx, snapshots); err != nil {
			return nil, err
		}
		defer p.drop(snapshots.scratch)
	}
	if res.Record, res.Created, err = p.publish(ctx); err == nil {
		p.transit.arrived()
	}
	return res, err
}

// open reaches the repository.
func (p *pulling) open(ctx context.Context) (err error) {
	if p.config, err = configuration(p.req.ConfigFile, p.req.Config); err != nil {
		return err
	}
	ref, err := manifest.ParseImageRef(p.req.Ref)
	if err != nil {
		return failure.New(failure.Usage, err, "")
	}
	if p.at, err = p.connect(ctx, ref, p.config, p.req.Remote, false); err != nil {
		return err
	}
	if len(p.req.VerifyKeys) > 0 { // who names keys means these
		p.at.keys = nil
	}
	for _, text := range p.req.VerifyKeys {
		if err := p.at.keys.ReadKeys(text); err != nil {
			return failure.New(failure.General, prefixed("the key to verify with", err), "")
		}
	}
	if p.transit, err = p.worker.transit(ctx, ref.String()); err != nil {
		return err
	}
	return p.at.into(p.worker, fetch.Options{Vault: p.transit.dir, Volatile: true, Progress: bytesOnly{p.tell}}, p.config)
}

// readImage finds the image and its lock, and makes sure that they belong together and may be trusted.
func (p *pulling) readImage(ctx context.Context) error {
	p.tell.Step("pull " + p.at.name() + " " + p.at.ref.Reference())
	root, err := p.at.manifest(ctx, p.at.ref.Reference())
	if err != nil {
		return err
	}
	if err := p.at.verify(ctx, root); err != nil {
		return err
	}
	p.blobs = p.at.blobs(root)
	parts, err := p.blobs.Find(ctx, runtime.GOARCH)
	if err != nil {
		return p.bad(err)
	}
	p.blobs.Root, p.digest = parts.Manifest, parts.Manifest
	p.manifest, p.image = parts.Image, parts.Config
	if err := p.readLock(ctx); err != nil {
		return err
	}
	return p.checkShape()
}

// bad is what is wrong with what the registry has.
func (p *pulling) bad(err error) error {
	if err == nil {
		return nil
	}
	return failure.New(failure.Remote, fmt.Errorf("%s: %w", p.at.ref, err), "")
}

// readLock finds the lock whose identity the image names: in the image manifest, else among what refers to the image.
func (p *pulling) readLock(ctx context.Context) error {
	id := p.image.Config.Labels[labelEnvID]
	if id == "" {
		return failure.New(failure.Remote, fmt.Errorf("%s is no environment that karapace pushed: its image names none", p.at.ref),
			fmt.Sprintf("as a base it is good: base.image = %q", p.at.ref))
	}
	text, err := p.lockText(ctx, id)
	if err != nil {
		return err
	}
	l, err := manifest.ParseLock("karapace.lock", text)
	if err != nil {
		return p.bad(err)
	}
	if string(l.ID()) != id {
		return p.bad(fmt.Errorf("its lock is that of environment %s, and the image is %.64q", l.ID(), id))
	}
	l.Output = manifest.Output{} // what it is, is computed
	p.lock = l
	return nil
}

func (p *pulling) lockText(ctx context.Context, id string) ([]byte, error) {
	if text := p.manifest.Config.Annotations[noteLock]; text != "" {
		return []byte(text), nil
	}
	all, err := p.at.about(ctx, p.subject(), artifactLock)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Annotations[labelEnvID] != id || len(m.Layers) != 1 || m.Layers[0].Size > images.DocumentLimit {
			continue
		}
		if err := p.at.bring(ctx, m.Layers[0]); err != nil {
			return nil, remoteFailure(err)
		}
		text, err := p.blobs.ReadDocument(m.Layers[0])
		return text, p.bad(err)
	}
	return nil, p.bad(fmt.Errorf("the lock of environment %.12q is not there", id))
}

// subject describes the image for those who look for what refers to it.
func (p *pulling) subject() ispec.Descriptor {
	return ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: p.digest}
}

// checkShape compares what can be compared before any layer has arrived.
func (p *pulling) checkShape() error {
	want := 1
	if len(p.lock.Packages) > 0 {
		want = 2
	}
	if ids := p.image.RootFS.DiffIDs; len(ids) != want || len(p.manifest.Layers) != want {
		return p.bad(fmt.Errorf("it has %d layers, and its lock makes %d", len(p.manifest.Layers), want))
	}
	if ids := p.image.RootFS.DiffIDs; want == 2 && ids[0] == ids[1] {
		return p.bad(errors.New("its layers are one and the same"))
	}
	config, err := json.Marshal(p.expected())
	if err != nil {
		return err
	}
	if digest.FromBytes(config) != p.manifest.Config.Digest {
		return p.bad(fmt.Errorf("its configuration says something else than its lock makes of it"))
	}
	return nil
}

// expected is the configuration of the image of the lock. The base's variables are known from the image alone.
func (p *pulling) expected() ispec.Image {
	config := imageConfig(p.lock, images.CleanEnv(p.image.Config.Env))
	config.RootFS = ispec.RootFS{Type: "layers", DiffIDs: slices.Clone(p.image.RootFS.DiffIDs)}
	return config
}

// takeImage computes the image of the layers, which is what was pushed, and puts it into the store.
func (p *pulling) takeImage(ctx context.Context) error {
	p.base.Env = p.expected().Config.Env
	got, err := p.build.image(ctx)
	if err != nil {
		return err
	}
	stack := []layers.Layer{{DiffID: p.base.ID, Size: p.base.Size}}
	p.lock.Output = manifest.Output{BaseLayer: p.base.ID, PackageLayer: p.packages.ID, ImageDigest: got}
	if p.packages.ID != "" {
		stack = append(stack, layers.Layer{DiffID: p.packages.ID, Size: p.packages.Size})
	}
	plain, err := plainDigest(p.manifest, stack)
	if err != nil {
		return err
	}
	if plain != got {
		return p.bad(fmt.Errorf("it is the image %s, and its lock and layers make %s", plain, got))
	}
	return nil
}
