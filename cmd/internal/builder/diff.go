package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// changesAtOnce is how many bytes of changes go into one event, at least.
const changesAtOnce = 32 << 10

// diff tells in what an environment, which may be running meanwhile, is not as it was once.
func (w *worker) diff(ctx context.Context, req *wire.Diff) (*wire.DiffResult, error) {
	r, err := w.store.Record(req.EnvID)
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	if req.Snapshot != "" && r.Snapshot(req.Snapshot) == nil {
		return nil, failure.New(failure.General, fmt.Errorf("environment %s has no snapshot %s", r.Title(), req.Snapshot), "karapace snapshots "+r.Title())
	}
	s, res := w.stacks(r, req.Snapshot), &wire.DiffResult{}
	if req.Packages != nil {
		res, err = w.diffPackages(ctx, s, req.Packages)
	} else {
		err = w.diffPaths(ctx, s)
	}
	if err != nil && w.store.Changed(r) { // nothing keeps others from changing or destroying it meanwhile
		if _, gone := w.store.Record(req.EnvID); gone != nil {
			return nil, gone
		}
		return nil, failure.New(failure.General, fmt.Errorf("environment %s was changed by another command", r.Title()), "give the command again")
	}
	return res, err
}

// stacks are an environment as it is, and as it was at a snapshot or when it was built. The host layer is Karapace's own
// doing.
func (w *worker) stacks(r *storage.Record, snapshot digest.Digest) fstree.Stacks {
	return fstree.Stacks{
		Now:   append([]string{w.store.UpperDir(r)}, w.state(r, r.Current)...),
		Was:   w.state(r, snapshot),
		Aside: []string{w.store.HostDir(r)},
	}
}

// state are the directories of a snapshot and all that it lies on, or of what was built.
func (w *worker) state(r *storage.Record, snapshot digest.Digest) (dirs []string) {
	for _, s := range r.ChainOf(snapshot) {
		dirs = append(dirs, w.store.EnvDir(r.EnvID, s.Dir))
	}
	for _, l := range r.Lower {
		dirs = append(dirs, w.store.Path(l))
	}
	return dirs
}

func (w *worker) diffPaths(ctx context.Context, s fstree.Stacks) error {
	var batch []byte
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := w.tell.send(wire.Event{Changes: batch})
		batch = batch[:0]
		return err
	}
	err := fstree.Drift(ctx, s, func(c *fstree.Change) error {
		one := wireChange(c)
		batch = one.Append(batch)
		if len(batch) < changesAtOnce {
			return nil
		}
		return send()
	})
	if err == nil {
		err = send()
	}
	if err != nil && ctx.Err() == nil {
		err = failure.New(failure.Store, fmt.Errorf("compare the environment with what it was: %w", err), "")
	}
	return err
}

func wireChange(c *fstree.Change) wire.Change {
	out := wire.Change{Op: string(rune(c.Op)), Path: "/" + c.Path, Kind: c.Kind, Size: c.Size, What: c.What, OldKind: c.OldKind, OldSize: c.OldSize}
	if c.Link != "" {
		out.Link = "/" + c.Link
	}
	return out
}

// diffPackages asks the environment's own package manager what it has, and what it had.
func (w *worker) diffPackages(ctx context.Context, s fstree.Stacks, lock *wire.Build) (*wire.DiffResult, error) {
	b, err := w.newBuild(lock)
	if err != nil {
		return nil, err
	}
	is, manager, err := b.installed(ctx, s.Now)
	if err != nil {
		return nil, err
	}
	was, _, err := b.installed(ctx, s.Was)
	if err != nil {
		return nil, err
	}
	return &wire.DiffResult{Manager: manager.Name(), Packages: comparePackages(was, is, manager.CompareVersions)}, nil
}

// lister is a package manager that can list what is installed.
type lister interface {
	distro.Manager
	distro.Lister
}

// installed lists the packages of the system made of dirs, in a throw-away layer on top of them.
func (b *build) installed(ctx context.Context, dirs []string) (list []distro.Installed, manager lister, err error) {
	err = b.onLayers("list", strings.Join(dirs, ":"), func(sb *sandbox, _ string) error {
		m, err := b.manager(sb)
		if err != nil {
			return failure.New(failure.General, errors.New("the environment has no package manager that is known here"), "karapace diff without --packages tells the paths")
		}
		var ok bool
		if manager, ok = m.(lister); !ok {
			return failure.New(failure.General, fmt.Errorf("the packages of %s cannot be listed here", m.Name()), "karapace diff without --packages tells the paths")
		}
		list, err = manager.Installed(ctx, sb)
		return failure.New(failure.General, err, "")
	})
	return list, manager, err
}

// comparePackages tells how two lists differ, by name. Several versions of one package may be installed in some systems.
func comparePackages(was, is []distro.Installed, compare func(a, b string) int) []wire.PackageChange {
	old, present := byInstance(was), byInstance(is)
	var all []wire.PackageChange
	for key, now := range present {
		before := old[key]
		if len(before) == 1 && len(now) == 1 {
			if c := changed(before[0], now[0], compare); c.Change != "" {
				all = append(all, c)
			}
			continue
		}
		all = append(all, onlyIn(now, before, "installed")...)
	}
	for key, before := range old {
		if now := present[key]; len(before) != 1 || len(now) != 1 {
			all = append(all, onlyIn(before, now, "removed")...)
		}
	}
	slices.SortFunc(all, func(a, b wire.PackageChange) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Old, b.Old), strings.Compare(a.New, b.New))
	})
	return all
}

func byInstance(list []distro.Installed) map[[2]string][]distro.Installed {
	out := make(map[[2]string][]distro.Installed, len(list))
	for _, p := range list {
		key := [2]string{p.Name, p.Arch}
		out[key] = append(out[key], p)
	}
	return out
}

// changed says what became of a package. That it is no longer wanted for itself is no change.
func changed(was, is distro.Installed, compare func(a, b string) int) wire.PackageChange {
	c := wire.PackageChange{Name: is.Name, Arch: is.Arch, Old: was.Version, New: is.Version, Explicit: is.Explicit, Foreign: is.Foreign}
	switch order := compare(was.Version, is.Version); {
	case order < 0:
		c.Change = "upgraded"
	case order > 0:
		c.Change = "downgraded"
	case was.Version != is.Version:
		c.Change = "changed"
	case is.Explicit && !was.Explicit && !is.Guessed:
		c.Change = "marked"
	}
	return c
}

// onlyIn lists the versions in some that are not in others.
func onlyIn(some, others []distro.Installed, change string) (all []wire.PackageChange) {
	for _, p := range some {
		if slices.ContainsFunc(others, func(o distro.Installed) bool { return o.Version == p.Version }) {
			continue
		}
		c := wire.PackageChange{Name: p.Name, Arch: p.Arch, Change: change, New: p.Version, Explicit: p.Explicit, Foreign: p.Foreign}
		if change == "removed" {
			c.Old, c.New = c.New, ""
		}
		all = append(all, c)
	}
	return all
}
