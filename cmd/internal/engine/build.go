package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// BuildOptions are what build, rebuild and lock take.
type BuildOptions struct {
	Manifest      string // file; empty is karapace.toml
	Name          string
	Locked        bool // a lock must exist, and is not written
	Offline       bool
	RequirePinned bool
	Backend       string // that package managers run in; empty is namespace
	Force         bool   // rebuild, whatever is lost or protected
}

// BuildResult is an environment and how it came about.
type BuildResult struct {
	Record      *storage.Record
	Created     bool   // false: it was there
	File        string // the manifest, as it was given
	Beside      string // name of the one other environment of the same directory, when the new one has none
	LockFile    string
	LockWritten bool
	Timings     []wire.Timing
}

// Build makes the environment of a manifest from its lock, and the lock first when there is none.
func (e *Engine) Build(ctx context.Context, o BuildOptions) (*BuildResult, error) {
	if r, lockFile := e.unchanged(o); r != nil {
		return &BuildResult{Record: r, LockFile: lockFile}, nil
	}
	p, err := e.prepare(o)
	if err != nil {
		return nil, err
	}
	return e.build(ctx, p, o, wire.Build{})
}

// Rebuild makes every layer anew and replaces the environment that has the name, which goes only when the new one stands.
func (e *Engine) Rebuild(ctx context.Context, o BuildOptions) (*BuildResult, error) {
	p, err := e.prepare(o)
	if err != nil {
		return nil, err
	}
	req := wire.Build{Fresh: true, Force: o.Force}
	old := e.previous(p, o)
	if old != nil {
		req.Replaces, req.ReplacesName = old.EnvID, old.Name
		if o.Name == "" {
			o.Name = old.Name
		}
		if err := e.mayReplace(ctx, p, old, o.Force); err != nil {
			return nil, err
		}
	}
	return e.build(ctx, p, o, req)
}

// prepare reads the documents and checks all that can be checked without work.
func (e *Engine) prepare(o BuildOptions) (*project, error) {
	if o.Name != "" && !manifest.ValidName(o.Name) {
		return nil, badName(o.Name)
	}
	p, err := e.load(o.Manifest)
	if err != nil {
		return nil, err
	}
	if o.RequirePinned {
		if err := requirePinned(p); err != nil {
			return nil, err
		}
	}
	if p.Lock != nil {
		return p, p.stale()
	}
	if o.Locked {
		return nil, failure.New(failure.Lock, fmt.Errorf("--locked needs %s, and there is none", filepath.Base(p.LockFile)), "karapace lock "+p.File)
	}
	return p, nil
}

func requirePinned(p *project) error {
	ref, err := manifest.ParseBaseRef(p.Manifest.Base.Image)
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	if ref.Pinned() {
		return nil
	}
	return failure.New(failure.Manifest, fmt.Errorf("%s: base.image %q is not pinned", p.File, p.Manifest.Base.Image), "karapace pin "+p.File)
}

// unchanged returns the environment when there is nothing to do: manifest and lock are those it was built from, to the
// byte, so that neither need be understood again.
func (e *Engine) unchanged(o BuildOptions) (r *storage.Record, lockFile string) {
	p, err := e.loadManifest(o.Manifest)
	if err != nil {
		return nil, ""
	}
	lock, err := readFile(p.LockFile, lockLimit)
	if err != nil {
		return nil, ""
	}
	id, ok := manifest.PeekLock(lock)
	if !ok {
		return nil, ""
	}
	s, err := e.store()
	if err != nil {
		return nil, ""
	}
	if r, err = s.Record(id); err != nil || r.ManifestID != p.Manifest.PreliminaryID() || o.Name != "" && o.Name != r.Name || !s.Linked(r) {
		return nil, ""
	}
	if o.RequirePinned && requirePinned(p) != nil {
		return nil, ""
	}
	built, err := readFile(s.EnvDir(id, "karapace.lock"), lockLimit)
	if err != nil || !bytes.Equal(built, lock) {
		return nil, ""
	}
	return r, p.LockFile
}

// previous is what a rebuild replaces: the environment with the name, else the one the present lock has made.
func (e *Engine) previous(p *project, o BuildOptions) *storage.Record {
	s, err := e.store()
	if err != nil {
		return nil
	}
	if o.Name != "" {
		if r, err := s.Find(o.Name); err == nil && r.Name == o.Name {
			return r
		}
	}
	if p.Lock != nil {
		if r, err := s.Record(p.Lock.ID()); err == nil {
			return r
		}
	}
	return nil
}

// mayReplace says early what would keep a rebuild from replacing an environment. It is asked again in the end.
func (e *Engine) mayReplace(ctx context.Context, p *project, old *storage.Record, force bool) error {
	s, err := e.store()
	if err != nil {
		return err
	}
	if err := allow(old, storage.Rebuild, force); err != nil {
		return err
	}
	if force {
		return e.end(ctx, s, old)
	}
	if err := e.refuseRunning(ctx, s, old); err != nil {
		return err
	}
	if p.Lock == nil || p.Lock.ID() == old.EnvID {
		return nil
	}
	err = s.Expendable(old)
	var work *storage.WorkError
	if errors.As(err, &work) {
		return failure.New(failure.General, err, work.Hint())
	}
	return err
}

func (e *Engine) build(ctx context.Context, p *project, o BuildOptions, req wire.Build) (*BuildResult, error) {
	s, err := e.newStore()
	if err != nil {
		return nil, err
	}
	var exports []export
	if req.Replaces != "" {
		exports = e.exportedBy(s, req.Replaces)
	}
	res, err := e.buildRequest(ctx, s, p, o, req)
	if err != nil {
		return nil, err
	}
	e.renewExports(ctx, s, res.Record, exports)
	out := &BuildResult{Record: res.Record, Created: res.Created, LockFile: p.LockFile, File: p.File, Timings: res.Timings}
	if res.Created && res.Record.Name == "" {
		out.Beside = onlyNamed(s, res.Record.ManifestDir)
	}
	if out.LockWritten, err = e.keepLock(p, o, res.Lock); err != nil {
		return nil, err
	}
	return out, nil
}

// onlyNamed is the name of the environment of a directory, or "" if not just one has a name.
func onlyNamed(s *storage.Store, dir string) (name string) {
	records, _ := s.Records()
	for _, r := range records {
		if r.ManifestDir != dir || r.Name == "" {
			continue
		}
		if name != "" {
			return ""
		}
		name = r.Name
	}
	return name
}

// FetchResult is what a lock needs and the vault has.
type FetchResult struct {
	LockFile    string
	LockWritten bool
	Files       int
	Bytes       int64
}

// Fetch brings all files that building needs, so that it can be done without a network later; it makes the lock first
// when there is none.
func (e *Engine) Fetch(ctx context.Context, o BuildOptions) (*FetchResult, error) {
	p, err := e.prepare(o)
	if err != nil {
		return nil, err
	}
	s, err := e.newStore()
	if err != nil {
		return nil, err
	}
	res, err := e.buildRequest(ctx, s, p, o, wire.Build{FetchOnly: true})
	if err != nil {
		return nil, err
	}
	out := &FetchResult{LockFile: p.LockFile, Files: res.Files, Bytes: res.Bytes}
	out.LockWritten, err = e.keepLock(p, o, res.Lock)
	return out, err
}

// keepLock writes a lock that is new or has gained its output.
func (e *Engine) keepLock(p *project, o BuildOptions, lock []byte) (written bool, err error) {
	if o.Locked || string(lock) == string(p.LockText) {
		return false, nil
	}
	if err := p.writeLock(lock); err != nil {
		_, hint := failure.Of(err)
		return false, &failure.Error{Kind: failure.Lock, Err: fmt.Errorf("the work is done, but its lock cannot be written: %w", err), Hint: hint}
	}
	return true, nil
}

func (e *Engine) buildRequest(ctx context.Context, s *storage.Store, p *project, o BuildOptions, req wire.Build) (*wire.BuildResult, error) {
	req.File, req.Dir, req.Manifest, req.Lock, req.LockFile = p.File, p.Dir, p.Text, p.LockText, p.LockFile
	req.Name, req.Offline, req.Backend = o.Name, o.Offline, o.Backend
	if err := e.configure(&req); err != nil {
		return nil, err
	}
	var err error
	if req.Remote, err = e.baseRemote(ctx, p.Manifest.Base.Image, o.Offline); err != nil {
		return nil, err
	}
	var res wire.BuildResult
	if err := e.call(ctx, s, wire.Request{Build: &req}, &res); err != nil {
		return nil, err
	}
	return &res, nil
}

// configure adds what the surroundings say.
func (e *Engine) configure(req *wire.Build) error {
	config, err := readFile(e.ConfigFile, manifestLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure.New(failure.General, fmt.Errorf("read configuration: %w", err), "")
	}
	req.Config, req.ConfigFile, req.AptDir, req.BackendDirs, req.ImageServers = config, e.ConfigFile, e.AptDir, e.BackendDirs, e.ImageServers
	return nil
}
