package engine

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
)

// LockOptions are what lock takes.
type LockOptions struct {
	Manifest string
	Update   bool     // resolve anew though there is a lock
	Only     []string // with Update: packages; all others keep their versions as far as that is possible
	Check    bool     // only tell whether the lock satisfies the manifest
	Offline  bool
	Backend  string      // that package managers run in; empty is namespace
	Twice    *wire.Twice // not nil: build it twice, and promise what both gave

	added []string // with Update: packages that are new in the manifest; all others keep their versions as far as that is possible
}

// LockResult is a lock and what changed in it.
type LockResult struct {
	File    string
	Lock    *manifest.Lock
	Written bool
	Changes []manifest.PackageChange

	Differences []wire.Difference // between two builds: nothing was written
	Varied      []string          // what was different about the second one
}

// Lock resolves a manifest and writes the lock beside it. A lock that satisfies the manifest is left as it is.
func (e *Engine) Lock(ctx context.Context, o LockOptions) (*LockResult, error) {
	load := e.load
	if o.Update {
		load = e.loadForUpdate
	}
	p, err := load(o.Manifest)
	if err != nil {
		return nil, err
	}
	if p.Lock == nil && len(o.Only) > 0 {
		return nil, failure.New(failure.Lock, fmt.Errorf("there is no %s to update %s in", filepath.Base(p.LockFile), o.Only[0]), "karapace lock "+p.File)
	}
	if p.Lock == nil && o.Check {
		return nil, failure.New(failure.Lock, fmt.Errorf("there is no %s", filepath.Base(p.LockFile)), "karapace lock "+p.File)
	}
	if p.Lock != nil && !o.Update {
		if err := p.stale(); err != nil {
			return nil, err
		}
		if o.Twice == nil {
			return &LockResult{File: p.LockFile, Lock: p.Lock}, nil
		}
	}
	return e.resolve(ctx, p, o)
}

func (e *Engine) resolve(ctx context.Context, p *project, o LockOptions) (*LockResult, error) {
	out, text, err := e.resolved(ctx, p, o)
	if err != nil || !out.Written {
		return out, err
	}
	if err := p.writeLock(text); err != nil {
		return nil, err
	}
	return out, nil
}

// resolved makes a lock without writing it; out.Written tells whether it is to be.
func (e *Engine) resolved(ctx context.Context, p *project, o LockOptions) (out *LockResult, text []byte, err error) {
	s, err := e.newStore()
	if err != nil {
		return nil, nil, err
	}
	old, oldText := p.Lock, p.LockText
	req := wire.Build{LockOnly: true, Twice: o.Twice}
	if o.Update {
		p.LockText = nil
		if old != nil {
			req.Update = &wire.Update{Lock: oldText, Packages: o.Only, Added: o.added}
		}
	}
	res, err := e.buildRequest(ctx, s, p, BuildOptions{Offline: o.Offline, Backend: o.Backend}, req)
	if err != nil {
		return nil, nil, err
	}
	if len(res.Differences) > 0 {
		return &LockResult{File: p.LockFile, Differences: res.Differences, Varied: res.Varied}, nil, differ(p, res.Differences)
	}
	l, err := manifest.ParseLock(p.LockFile, res.Lock)
	if err != nil {
		return nil, nil, failure.New(failure.General, fmt.Errorf("the new lock does not hold: %w", err), "")
	}
	out = &LockResult{File: p.LockFile, Lock: l, Written: true, Changes: manifest.DiffLocks(old, l), Varied: res.Varied}
	if old != nil && old.ID() == l.ID() && (o.Twice == nil || bytes.Equal(oldText, res.Lock)) {
		out.Written, out.Lock = false, old
	}
	return out, res.Lock, nil
}
