package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// What karapace-store says goes on to who asked.
type (
	Difference    = wire.Difference
	VerifiedLayer = wire.VerifiedLayer
	Twice         = wire.Twice
)

// VerifyOptions are what verify takes.
type VerifyOptions struct {
	Rebuild bool // build again from the environment's lock, aside, and compare
	Odd     bool // under other circumstances
	Offline bool
	Backend string // that package managers run in
}

// Verification is what verify found.
type Verification struct {
	Record *storage.Record
	wire.VerifyResult
}

// Verify checks the bytes of an environment's layers. The result is there also when the error says that they are not
// what they should be.
func (e *Engine) Verify(ctx context.Context, ref string, o VerifyOptions) (*Verification, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	req := &wire.Verify{EnvID: r.EnvID, Odd: o.Odd}
	if o.Rebuild {
		if req.Rebuild, err = e.fromEnvironment(ctx, s, r); err != nil {
			return nil, err
		}
		req.Rebuild.Offline, req.Rebuild.Backend = o.Offline, o.Backend
	}
	v := &Verification{Record: r}
	if err := e.call(ctx, s, wire.Request{Verify: req}, &v.VerifyResult); err != nil {
		return nil, err
	}
	return v, v.failure()
}

// fromEnvironment asks for what the lock of an environment says, which needs no manifest.
func (e *Engine) fromEnvironment(ctx context.Context, s *storage.Store, r *storage.Record) (*wire.Build, error) {
	file := s.EnvDir(r.EnvID, "karapace.lock")
	text, err := readFile(file, lockLimit)
	if err != nil {
		return nil, failure.New(failure.Store, fmt.Errorf("read the lock of environment %s: %w", r.EnvID.Short(), err), "karapace rebuild makes it anew from the lock of its project")
	}
	req := &wire.Build{File: file, Dir: r.ManifestDir, Lock: text, LockFile: file}
	if req.Remote, err = e.baseRemote(ctx, r.BaseImage, false); err != nil {
		return nil, err
	}
	return req, e.configure(req)
}

// failure is what to say about layers that are not as they should be.
func (v *Verification) failure() error {
	var damaged, other []string
	hint := "karapace rebuild, in the directory of its manifest, makes it anew"
	for _, l := range v.Layers {
		switch {
		case l.Found != l.Digest && strings.HasPrefix(l.What, wire.SnapshotLayer):
			damaged = append(damaged, l.What)
			hint = "karapace restore another snapshot, or built; nothing can make this one anew"
		case l.Found != l.Digest:
			damaged = append(damaged, l.What)
		}
		if l.Rebuilt != "" && l.Rebuilt != l.Digest {
			other = append(other, l.What)
		}
	}
	name := v.Record.EnvID.Short()
	if v.Record.Name != "" {
		name = v.Record.Name
	}
	switch {
	case len(damaged) > 0:
		return failure.New(failure.Store, fmt.Errorf("environment %s is damaged: %s", name, strings.Join(damaged, ", ")), hint)
	case len(other) > 0:
		return failure.New(failure.Lock, fmt.Errorf("building environment %s again gave other bytes: %s", name, strings.Join(other, ", ")), "karapace lock --verify finds and records what varies")
	}
	return nil
}

// differ is what to say about a lock whose two builds gave other bytes.
func differ(p *project, all []wire.Difference) error {
	paths := map[string]bool{}
	for _, d := range all {
		paths[d.Path] = true
	}
	return failure.New(failure.Lock, errors.New(p.File+": two builds differ in "+wire.Count(len(paths), "path")+"; no lock was written"),
		"leave them out with karapace lock --verify --volatile PATH, or all of them with --accept, if nothing needs them")
}
