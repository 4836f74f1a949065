package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Run runs a command in a throw-away writable layer of a manifest or an environment, building it first if need be.
// Nothing of the session is left.
func (e *Engine) Run(ctx context.Context, target string, b BuildOptions, o SessionOptions) (backends.Exit, error) {
	if o.profile = "project"; o.Isolated {
		o.profile = "isolated"
	}
	s, r, use, err := e.targetInUse(ctx, target, b)
	if err != nil {
		return backends.Exit{}, err
	}
	defer use.Unlock()
	scratch, err := s.Scratch(runPrefix(r.EnvID))
	if err != nil {
		return backends.Exit{}, storeFailure(err)
	}
	exit, err := e.ephemeral(ctx, s, r, o, scratch.Dir)
	err = orGone(s, r, err, !use.InPlace())
	if goneErr := e.gone(context.WithoutCancel(ctx), filepath.Join(scratch.Dir, "state")); err == nil {
		err = goneErr // a runtime may still be tidying up what is removed next
	}
	scratch.Release()
	if sweepErr := e.Sweep(context.WithoutCancel(ctx)); err == nil && sweepErr != nil {
		return exit, sweepErr
	}
	return exit, err
}

// runPrefix begins the names of the directories of an environment's runs.
func runPrefix(id manifest.EnvID) string { return "run-" + string(id.Short()) }

// endRuns ends the runs of an environment that is to go. One that is not to be ended so soon keeps it.
func (e *Engine) endRuns(ctx context.Context, s *storage.Store, id manifest.EnvID) error {
	for range 100 {
		if !s.InUse(id) {
			return nil
		}
		states, err := storage.Glob(s.Path("tmp"), runPrefix(id)+"-*/state")
		if err != nil {
			return storeFailure(err)
		}
		for _, state := range states {
			if err := backends.Stop(ctx, state, stopGrace); err != nil && !errors.Is(err, backends.ErrNotRunning) && !errors.Is(err, fs.ErrNotExist) {
				return backendFailure(err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// targetInUse is the environment meant, whose layers stay where they are until use is given back.
func (e *Engine) targetInUse(ctx context.Context, target string, b BuildOptions) (s *storage.Store, r *storage.Record, use *storage.Lock, err error) {
	for {
		if r, err = e.target(ctx, target, b); err != nil {
			return nil, nil, nil, err
		}
		if s, err = e.store(); err != nil {
			return nil, nil, nil, err
		}
		now, use, err := e.use(ctx, s, r)
		if !e.handedOver(target, r, err) {
			return s, now, use, err
		}
	}
}

// use keeps the layers of an environment where they are, and returns its record as it is then.
func (e *Engine) use(ctx context.Context, s *storage.Store, r *storage.Record) (*storage.Record, *storage.Lock, error) {
	for {
		now, err := s.Record(r.EnvID)
		if err != nil {
			return nil, nil, storeFailure(err)
		}
		if err := allow(now, storage.Run, false); err != nil {
			return nil, nil, err
		}
		use, err := s.Use(ctx, r.EnvID)
		if err != nil {
			return nil, nil, storeFailure(orGone(s, r, err, false))
		}
		if err = settled(s, now); err == nil && !use.InPlace() {
			err = errChanged
		}
		if err == nil {
			return now, use, nil
		}
		use.Unlock()
		if !errors.Is(err, errChanged) {
			return nil, nil, storeFailure(orGone(s, r, err, false))
		}
		if err := e.awaitSettled(ctx, s, r); err != nil {
			return nil, nil, err
		}
	}
}

// target is the environment meant: a manifest's, if target looks like one or is empty and there is one, else by name.
func (e *Engine) target(ctx context.Context, target string, b BuildOptions) (*storage.Record, error) {
	asFile := target == "" || strings.HasSuffix(target, ".toml") || strings.ContainsRune(target, '/')
	if asFile {
		b.Manifest = target
		res, err := e.Build(ctx, b)
		if err != nil {
			return nil, err
		}
		return res.Record, nil
	}
	_, r, err := e.find(target)
	return r, err
}

// ephemeral runs one session whose writable layer and locks lie in dir.
func (e *Engine) ephemeral(ctx context.Context, s *storage.Store, r *storage.Record, o SessionOptions, dir string) (backends.Exit, error) {
	spec, err := e.spec(s, r, o)
	if err != nil {
		return backends.Exit{}, err
	}
	rt, err := e.runtime(ctx, r, o.Backend)
	if err != nil {
		return backends.Exit{}, err
	}
	c, err := e.throwAway(s, r, spec, dir)
	if err != nil {
		return backends.Exit{}, err
	}
	exit, err := rt.Run(ctx, c, o.Stdio)
	return exit, backendFailure(err)
}

// throwAway makes a container of an environment's layers whose writable layer and locks lie in dir.
func (e *Engine) throwAway(s *storage.Store, r *storage.Record, spec *rspec.Spec, dir string) (*backends.Container, error) {
	for _, d := range []string{"state", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, storeFailure(err)
		}
	}
	if err := bundle.Create(filepath.Join(dir, "bundle")); err != nil {
		return nil, storeFailure(err)
	}
	mapping, err := e.mapping()
	if err != nil {
		return nil, err
	}
	return &backends.Container{
		ID:     filepath.Base(dir),
		Bundle: filepath.Join(dir, "bundle"),
		State:  filepath.Join(dir, "state"),
		Spec:   spec,
		Rootfs: backends.Rootfs{
			Lower: s.Lowers(r), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Volatile: true, NewUpper: true,
		},
		Mapping: mapping,
	}, nil
}
