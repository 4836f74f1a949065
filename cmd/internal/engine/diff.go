package engine

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// What karapace-store says goes on to who asked.
type (
	Change        = wire.Change
	PackageChange = wire.PackageChange
)

// Comparison is what was compared.
type Comparison struct {
	Record   *storage.Record
	Snapshot digest.Digest // what the environment was compared with; empty is the built state
}

// State names what the environment was compared with.
func (c *Comparison) State() string { return stateName(c.Snapshot) }

// compare finds an environment and what it is to be compared with: a snapshot, "built", or when nothing is said what the
// writable layer lies on.
func (e *Engine) compare(ref, snapshot string) (*storage.Store, *Comparison, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, nil, err
	}
	c := &Comparison{Record: r, Snapshot: r.Current}
	switch snapshot {
	case "":
	case builtRef:
		c.Snapshot = ""
	default:
		found, err := snapshotOf(s, r, snapshot)
		if err != nil {
			return nil, nil, err
		}
		c.Snapshot = found.ID
	}
	return s, c, nil
}

// Diff tells each in what an environment is not as it was at a snapshot, in the order of the paths. Without a snapshot
// that is what its writable layer changes. An error of each is returned in the end.
func (e *Engine) Diff(ctx context.Context, ref, snapshot string, each func(Change) error) (*Comparison, error) {
	s, c, err := e.compare(ref, snapshot)
	if err != nil {
		return nil, err
	}
	res := &changes{each: each}
	if err := e.call(ctx, s, wire.Request{Diff: &wire.Diff{EnvID: c.Record.EnvID, Snapshot: c.Snapshot}}, res); err != nil {
		return nil, err
	}
	return c, res.err
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

// PackageDrift is what an environment's package manager has otherwise than once.
type PackageDrift struct {
	*Comparison
	Manager  string
	Packages []PackageChange // by name
}

// DiffPackages is Diff in packages.
func (e *Engine) DiffPackages(ctx context.Context, ref, snapshot string) (*PackageDrift, error) {
	s, c, err := e.compare(ref, snapshot)
	if err != nil {
		return nil, err
	}
	req := &wire.Diff{EnvID: c.Record.EnvID, Snapshot: c.Snapshot}
	if req.Packages, err = e.fromEnvironment(ctx, s, c.Record); err != nil {
		return nil, err
	}
	var res wire.DiffResult
	if err := e.call(ctx, s, wire.Request{Diff: req}, &res); err != nil {
		return nil, err
	}
	return &PackageDrift{Comparison: c, Manager: res.Manager, Packages: res.Packages}, nil
}
