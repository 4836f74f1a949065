package builder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fetch"
)

// build is one Build request on its way.
type build struct {
	*worker
	req      *wire.Build
	manifest *manifest.Manifest
	ref      manifest.BaseRef
	config   *manifest.Config
	fetch    *fetch.Client
	once     distro.Fetcher // see remote
	lock     *manifest.Lock
	earlier  *manifest.Lock // what an update starts from
	tree     *baseTree      // of the base while it is no layer yet
	base     layer
	packages layer
	timings  []wire.Timing
	aside    *aside // nil: what is built enters the store

	extra func(dir string, r *storage.Record) error // adds to an environment's directory before it is published; may be nil
}

// layer is a read-only layer in the store.
type layer struct {
	ID    digest.Digest
	Dir   string   // of its files
	Link  string   // a short name of Dir, for mounts
	Size  int64    // bytes of its tar
	Epoch int64    // of a base: the newest time in what it was made of
	Env   []string // of a base: the variables its image sets

	InputSize int64 // of a base made in this build: bytes of the file it was unpacked from
}

func (w *worker) build(ctx context.Context, req *wire.Build) (*wire.BuildResult, error) {
	if err := w.sweep(); err != nil {
		return nil, err
	}
	b, err := w.newBuild(req)
	if err != nil {
		return nil, err
	}
	if req.Twice != nil {
		if err := checkVolatile(req.Twice.Volatile); err != nil {
			return nil, err
		}
	}
	defer b.dropTree() // when the base cannot be resolved
	if req.Pin {
		pinned, err := b.pin(ctx)
		return &wire.BuildResult{Pinned: pinned}, err
	}
	if len(req.Lock) == 0 {
		if err := b.resolve(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case req.Twice != nil:
		return b.twice(ctx)
	case req.FetchOnly:
		return b.fetchAhead(ctx)
	case req.LockOnly:
		return &wire.BuildResult{Lock: b.lock.Encode(), Timings: b.timings}, nil
	}
	return b.finish(ctx)
}

// newBuild reads the documents of a request. With a lock nothing is resolved again.
func (w *worker) newBuild(req *wire.Build) (*build, error) {
	b := &build{worker: w, req: req}
	var err error
	if len(req.Lock) > 0 {
		if b.lock, err = manifest.ParseLock(req.LockFile, req.Lock); err != nil {
			return nil, failure.New(failure.Lock, err, "")
		}
		if has := b.lock.BuildEnvironment; has != distro.BuildEnvironment { // what comes of it would be something else
			return nil, failure.New(failure.Lock, fmt.Errorf("%s wants the build environment %d, and this karapace has %d", req.LockFile, has, distro.BuildEnvironment),
				"use the version of karapace that wrote it, or karapace lock --update")
		}
	}
	if err := b.readManifest(); err != nil {
		return nil, err
	}
	if b.config, err = manifest.ParseConfig(req.ConfigFile, req.Config); err != nil {
		return nil, failure.New(failure.General, err, "")
	}
	b.fetch, err = fetch.New(fetch.Options{
		Vault: w.store.Path("vault"), Offline: req.Offline, AllowHTTP: b.config.InsecureHosts, Progress: w.tell, UserAgent: "karapace", Waiting: w.tell.waiting,
		Proxy: http.ProxyFromEnvironment, // karapace passes the variables on, and no others
	})
	return b, failure.New(failure.Store, err, "")
}

// readManifest learns what the base is: from the manifest, or from the lock where there is only that.
func (b *build) readManifest() (err error) {
	var image, arch string
	if len(b.req.Manifest) > 0 {
		if b.manifest, err = manifest.Parse(b.req.File, b.req.Manifest); err != nil {
			return failure.New(failure.Manifest, err, "")
		}
		if b.manifest.Base.Arch == "" {
			b.manifest.Base.Arch = runtime.GOARCH
		}
		image, arch = b.manifest.Base.Image, b.manifest.Base.Arch
	} else {
		image, arch = b.lock.BaseImage, b.lock.Arch
	}
	if arch != runtime.GOARCH {
		return failure.New(failure.Backend, fmt.Errorf("%s asks for the architecture %s, and this machine is %s", b.req.File, arch, runtime.GOARCH),
			"build it on such a machine")
	}
	if b.ref, err = manifest.ParseBaseRef(image); err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	if b.lock != nil && b.ref.Digest != "" && b.ref.Digest != b.lock.BaseImageDigest {
		return failure.New(failure.Lock, fmt.Errorf("%s has a base with the digest %s, and %s pins %s", b.req.LockFile, b.lock.BaseImageDigest, b.req.File, b.ref.Digest),
			"karapace lock --update "+b.req.File)
	}
	return nil
}

// resolve makes a lock of the manifest. The base is built for it: its own package manager makes the plan.
func (b *build) resolve(ctx context.Context) error {
	m := b.manifest
	b.lock = &manifest.Lock{
		Arch: m.Base.Arch, BaseImage: m.Base.Image, BuildEnvironment: distro.BuildEnvironment,
		Requested: m.Packages, Apps: m.Apps, Backend: m.Runtime.Backend, Hardware: m.Hardware,
		NetworkIsolation: m.Runtime.NetworkIsolation, CPUShares: m.Runtime.CPUShares, MemoryLimitMB: m.Runtime.MemoryLimitMB,
		Mounts: m.Mounts, Env: m.Env, Integration: m.Integration,
	}
	if err := b.startFromEarlier(); err != nil {
		return err
	}
	if b.lock.BaseImageDigest == "" {
		if err := b.timed("resolve base", func() error { return b.resolveBase(ctx) }); err != nil {
			return err
		}
	}
	if err := b.ensureBase(ctx); err != nil {
		return err
	}
	b.lock.SourceDateEpoch = b.base.Epoch
	if names := b.names(); len(names) > 0 {
		if err := b.timed("resolve packages", func() error { return b.plan(ctx, names) }); err != nil {
			return err
		}
	}
	b.keepVolatile()
	for _, r := range b.lock.Repositories {
		b.lock.SourceDateEpoch = max(b.lock.SourceDateEpoch, r.Date)
	}
	return b.checkClock(time.Now())
}

// names are the packages and apps asked for.
func (b *build) names() []string {
	names := slices.Concat(b.lock.Requested, b.lock.Apps)
	slices.Sort(names)
	return slices.Compact(names)
}

// checkClock refuses a clock behind the lock: times could not be clamped and some programs would behave differently.
func (b *build) checkClock(now time.Time) error {
	ahead := time.Unix(b.lock.SourceDateEpoch, 0).Sub(now)
	if ahead <= time.Second { // what was written this very second has been rounded up
		time.Sleep(ahead)
		return nil
	}
	return failure.New(failure.General, fmt.Errorf("this machine's clock says %s, and the newest of the inputs is from %s",
		now.UTC().Format(time.RFC3339), time.Unix(b.lock.SourceDateEpoch, 0).UTC().Format(time.RFC3339)), "set the clock, or make the base image anew without times in the future")
}

// finish builds what the lock says and makes the environment.
func (b *build) finish(ctx context.Context) (*wire.BuildResult, error) {
	if err := b.checkClock(time.Now()); err != nil {
		return nil, err
	}
	if err := b.checkOffline(); err != nil {
		return nil, err
	}
	out, err := b.make(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.compareOutput(ctx, out); err != nil {
		return nil, err
	}
	b.lock.Output = out
	record, created, err := b.publish(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.BuildResult{Lock: b.lock.Encode(), Record: record, Created: created, Timings: b.timings}, nil
}

// make finds or makes the layers of the lock, and their image.
func (b *build) make(ctx context.Context) (out manifest.Output, err error) {
	if err := b.ensureBase(ctx); err != nil {
		return out, err
	}
	if err := b.ensurePackages(ctx); err != nil {
		return out, err
	}
	err = b.timed("make image", func() (err error) { out.ImageDigest, err = b.image(ctx); return err })
	out.BaseLayer, out.PackageLayer = b.base.ID, b.packages.ID
	return out, err
}

// timed runs a step, tells the user about it and remembers how long it took.
func (b *build) timed(step string, f func() error) error {
	b.tell.Step(step)
	start := time.Now()
	err := f()
	b.timings = append(b.timings, wire.Timing{Step: step, Millis: time.Since(start).Milliseconds()})
	return err
}

// remoteFailure gives errors of fetching and resolving their kind.
func remoteFailure(err error) error {
	var missing *fetch.MissingError
	var corrupt *fetch.CorruptError
	switch {
	case errors.As(err, &missing):
		return failure.New(failure.Remote, err, "")
	case errors.As(err, &corrupt):
		return failure.New(failure.Store, err, "run the command again with a network: the file is fetched anew")
	case errors.Is(err, context.Canceled):
		return err
	}
	return failure.New(failure.Remote, err, "")
}
