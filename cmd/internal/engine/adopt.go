package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// AdoptOptions are what adopt takes.
type AdoptOptions struct {
	DryRun  bool // only tell
	Offline bool
	Backend string // that package managers run in; empty is namespace
}

// AdoptResult is what a manifest and its lock have more now.
type AdoptResult struct {
	Record   *storage.Record
	File     string   // the manifest
	Packages []string // added to it
	Unlocked []string // that it had already, and its lock had not
	Foreign  []string // not added: they are of another architecture
	Lock     *LockResult
}

// Adopt adds the packages that somebody has installed in an environment, by name, to the manifest it was built from and
// to its lock. Both are written only when the lock could be made; the other packages of the lock keep their versions as
// far as that is possible.
func (e *Engine) Adopt(ctx context.Context, ref string, o AdoptOptions) (*AdoptResult, error) {
	drift, err := e.DiffPackages(ctx, ref, builtRef)
	if err != nil {
		return nil, err
	}
	p, err := e.builtFrom(drift.Record)
	if err != nil {
		return nil, err
	}
	out := &AdoptResult{Record: drift.Record, File: p.File}
	out.sort(p, drift.Packages)
	if len(out.Packages)+len(out.Unlocked) == 0 || o.DryRun {
		return out, nil
	}
	return out, e.adopt(ctx, p, out, o)
}

// sort tells what is to be done about packages. One that only the lock has not may be of an adopt that ended between the
// writing of the two.
func (out *AdoptResult) sort(p *project, packages []PackageChange) {
	for _, c := range packages {
		named := slices.Contains(p.Manifest.Packages, c.Name)
		switch {
		case !c.Explicit || c.Change != "installed" && c.Change != "marked":
		case named && !c.Foreign && p.Lock != nil && !slices.Contains(p.Lock.Requested, c.Name):
			out.Unlocked = append(out.Unlocked, c.Name)
		case named || slices.Contains(p.Manifest.Apps, c.Name):
		case c.Foreign || !manifest.ValidPackageName(c.Name):
			out.Foreign = append(out.Foreign, c.Name+":"+c.Arch)
		default:
			out.Packages = append(out.Packages, c.Name)
		}
	}
	out.Packages, out.Unlocked = slices.Compact(out.Packages), slices.Compact(out.Unlocked)
}

// builtFrom finds the manifest in the directory an environment was built from whose lock is the environment's.
func (e *Engine) builtFrom(r *storage.Record) (*project, error) {
	if e.ofQuick(r) { // whose manifests are named by what is in them
		return nil, failure.New(failure.Manifest, fmt.Errorf("environment %s was made by karapace quick, and has no manifest of a project", displayName(r)),
			"karapace new NAME writes one: name the packages there; or ask for them with karapace quick --packages")
	}
	files, err := storage.Glob(r.ManifestDir, "*.toml")
	if err != nil {
		return nil, failure.New(failure.Manifest, err, "")
	}
	files = slices.DeleteFunc(files, func(file string) bool {
		text, err := readFile(lockName(file), lockLimit)
		id, ok := manifest.PeekLock(text)
		return err != nil || !ok || id != r.EnvID
	})
	usual := filepath.Join(r.ManifestDir, manifestName)
	switch {
	case slices.Contains(files, usual):
		return e.load(usual)
	case len(files) == 1:
		return e.load(files[0])
	case len(files) > 1:
		return nil, failure.New(failure.Manifest, fmt.Errorf("several manifests have the lock of environment %s: %s", displayName(r), strings.Join(files, ", ")),
			"move all but the one that is meant away")
	}
	return nil, failure.New(failure.Manifest, fmt.Errorf("no manifest in %s has the lock of environment %s", r.ManifestDir, displayName(r)),
		"add the packages that karapace diff --packages lists to the manifest by hand, then karapace lock --update")
}

// adopt makes the lock of the longer manifest, then writes both. If the lock cannot be written the manifest is put back.
func (e *Engine) adopt(ctx context.Context, p *project, out *AdoptResult, o AdoptOptions) error {
	before := p.Text
	text, err := manifest.WithPackages(p.File, p.Text, out.Packages)
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	m, err := manifest.Parse(p.File, text)
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	m.Base.Arch = p.Manifest.Base.Arch
	p.Text, p.Manifest = text, m
	added := slices.Concat(out.Packages, out.Unlocked)
	res, lock, err := e.resolved(ctx, p, LockOptions{Update: true, added: added, Offline: o.Offline, Backend: o.Backend})
	if err != nil {
		return notAdopted(err, p)
	}
	out.Lock = res
	if err := p.rewrite(before, text); err != nil {
		return err
	}
	if err := p.writeLock(lock); err != nil {
		_, hint := failure.Of(err)
		return &failure.Error{Kind: failure.Lock, Err: errors.Join(err, p.rewrite(text, before)), Hint: hint}
	}
	return nil
}

func notAdopted(err error, p *project) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	kind, hint := failure.Of(err)
	return &failure.Error{Kind: kind, Err: fmt.Errorf("no lock can be made with these packages, and %s is as it was: %w", p.File, err), Hint: hint}
}
