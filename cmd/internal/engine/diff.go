package engine

import (
	"context"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// What karapace-store says goes on to who asked.
type (
	Change        = wire.Change
	PackageChange = wire.PackageChange
)

// Diff tells each what the writable layer of an environment changes in what was built, in the order of the paths. An
// error of each is returned in the end.
func (e *Engine) Diff(ctx context.Context, ref string, each func(Change) error) (*storage.Record, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	res := &changes{each: each}
	if err := e.call(ctx, s, wire.Request{Diff: &wire.Diff{EnvID: r.EnvID}}, res); err != nil {
		return nil, err
	}
	return r, res.err
}

// changes hands on what comes until that fails.
type changes struct {
	wire.DiffResult
	each func(Change) error
	err  error
}

func (c *changes) receive(b []byte) {
	if c.err == nil {
		c.err = wire.ReadChanges(b, c.each)
	}
}

// PackageDrift is what an environment's package manager has otherwise than as built.
type PackageDrift struct {
	Record   *storage.Record
	Manager  string
	Packages []PackageChange // by name
}

// DiffPackages tells in packages what the writable layer of an environment changes.
func (e *Engine) DiffPackages(ctx context.Context, ref string) (*PackageDrift, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	req := &wire.Diff{EnvID: r.EnvID}
	if req.Packages, err = e.fromEnvironment(s, r); err != nil {
		return nil, err
	}
	var res wire.DiffResult
	if err := e.call(ctx, s, wire.Request{Diff: req}, &res); err != nil {
		return nil, err
	}
	return &PackageDrift{Record: r, Manager: res.Manager, Packages: res.Packages}, nil
}
