package distro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// rpmPlan is one resolution on its way, of dnf or zypper.
type rpmPlan struct {
	sb     Sandbox
	loader *rpmLoader
	arch   string // rpm's name of the base's
	base   rpmSet
	repos  []*rpmRepo
}

// rpmStep is one package that the manager wants to install. repo is localID of its repository, or "" when it does not say.
type rpmStep struct {
	rpmPackage
	repo string
}

// checkNames refuses what is not the name of a package that can be installed, all at once.
func (p *rpmPlan) checkNames(names []string) error {
	unknown := make(map[string]*UnknownName)
	for _, n := range names {
		if err := rpmrepo.CheckName(n); err != nil {
			return err
		}
		if _, have := p.base.any(n, p.arch); !have && !p.offered(n) && !p.held(n) {
			unknown[n] = &UnknownName{Name: n, Near: near(n, p.known)}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for _, r := range p.repos { // only now: who provides what is of no interest otherwise
		if err := p.addProviders(r, unknown); err != nil {
			return err
		}
	}
	return newUnknownError(unknown)
}

func (p *rpmPlan) offered(name string) bool {
	return slices.ContainsFunc(p.repos, func(r *rpmRepo) bool {
		return slices.ContainsFunc(r.packages[name], func(c rpmCandidate) bool { return c.arch == p.arch || c.arch == "noarch" })
	})
}

func (p *rpmPlan) held(name string) bool {
	for _, h := range p.loader.hold {
		if h.Name == name {
			return true
		}
	}
	return false
}

func (p *rpmPlan) known(yield func(string) bool) {
	for _, r := range p.repos {
		for name := range r.packages {
			if !yield(name) {
				return
			}
		}
	}
}

func (p *rpmPlan) addProviders(r *rpmRepo, unknown map[string]*UnknownName) error {
	return readVerified(p.loader.fetch, r.primary, func(in io.Reader) error {
		plain, err := aptrepo.Decompress(in, maxIndexPlain)
		if err != nil {
			return err
		}
		defer plain.Close()
		return rpmrepo.ReadPrimary(plain, func(pkg *rpmrepo.Package) error {
			for _, u := range unknown {
				if pkg.Provides(u.Name) {
					u.Providers = append(u.Providers, pkg.Name)
				}
			}
			return nil
		})
	})
}

// answer pins what the manager wants to install, and what was asked for and is in the base already.
func (p *rpmPlan) answer(ctx context.Context, names []string, steps []rpmStep) (*Plan, error) {
	plan := &Plan{}
	for _, r := range p.repos {
		plan.Repositories = manifest.AddRepository(plan.Repositories, r.Repository())
	}
	planned := make(map[string]bool)
	for _, s := range steps {
		if s.arch == p.arch || s.arch == "noarch" {
			planned[s.name] = true
		}
	}
	there := make(map[string]bool) // in the base
	for _, n := range names {
		if planned[n] {
			continue
		}
		have, ok := p.base.any(n, p.arch)
		if !ok {
			return nil, fmt.Errorf("the package manager of the base does not say which package it installs for %q", n)
		}
		there[n] = true
		steps = append(steps, rpmStep{rpmPackage: have})
	}
	plan.Packages = make([]manifest.Package, len(steps))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, s := range steps {
		group.Go(func() (err error) {
			plan.Packages[i], err = p.pin(gctx, s)
			if err != nil && there[s.name] {
				err = fmt.Errorf("%w; the base has it already: leave it out of the manifest, or take a newer base", err)
			}
			plan.Packages[i].Requested = slices.Contains(names, s.name) && (s.arch == p.arch || s.arch == "noarch")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(plan.Packages, comparePackages)
	return plan, nil
}

// pin finds the file of a step: in the repository that was named, else in the first that has it.
func (p *rpmPlan) pin(ctx context.Context, s rpmStep) (manifest.Package, error) {
	if h, ok := p.loader.hold[instance(s.name, s.arch)]; ok && h.Version == s.version {
		return h, nil
	}
	for i, r := range p.repos {
		if s.repo != "" && s.repo != localID(i) {
			continue
		}
		for _, c := range r.packages[s.name] {
			if c.version != s.version || c.arch != s.arch {
				continue
			}
			pkg := manifest.Package{Name: s.name, Version: s.version, Arch: s.arch, Location: c.location, Size: c.size}
			sum, err := c.digest.SHA256()
			if err != nil { // the lock needs one, and only the file can tell it
				file, berr := p.loader.bring(ctx, "packages", []string{c.location}, "", c.digest, c.size, maxRPM)
				if berr != nil {
					return pkg, fmt.Errorf("package %s of repository %s: %w", s.name, r.ID, berr)
				}
				sum, pkg.Size = file.SHA256, file.Size
			}
			pkg.SHA256 = sum
			return pkg, nil
		}
	}
	return manifest.Package{}, fmt.Errorf("no repository has %s %s (%s)", s.name, s.version, s.arch)
}

// localID names a repository where it is laid out: nothing in the base's configuration is about such a name.
func localID(i int) string { return fmt.Sprintf("r%d", i) }

// maxRPM bounds a package file, in bytes.
const maxRPM = 16 << 30

// newRPMPlan fetches and verifies the metadata of the base's repositories, or of req.Mirror in their place.
func newRPMPlan(ctx context.Context, sb Sandbox, f Fetcher, req Request, repos []rpmrepo.Repo, expand func(string) string, signed func(rpmrepo.Repo) bool) (*rpmPlan, error) {
	base, err := readRPMSet(ctx, sb)
	if err != nil {
		return nil, err
	}
	keys, err := rpmKeys(ctx, sb, repos)
	if err != nil {
		return nil, err
	}
	p := &rpmPlan{sb: sb, base: base, loader: &rpmLoader{fetch: f, keys: keys, signed: signed, mirror: expand(req.Mirror), hold: make(map[string]manifest.Package)}}
	for _, h := range req.Hold {
		p.loader.hold[instance(h.Name, h.Arch)] = h
	}
	p.arch, _ = RPMArch(req.Arch)
	if req.Mirror != "" {
		if repos, err = mirroredRPM(ctx, f, repos, p.loader.mirror, signed); err != nil {
			return nil, err
		}
	}
	if len(repos) == 0 {
		return nil, errors.New("the base has no repositories: name a mirror in the manifest ([base] mirror)")
	}
	p.repos, err = p.loader.load(ctx, repos)
	return p, err
}

// resolve lays the repositories out in dir and asks the manager by ask, a second time with lists of files when it found
// no solution without.
func (p *rpmPlan) resolve(ctx context.Context, dir rpmDir, names, kinds []string, ask func() ([]rpmStep, error)) ([]rpmStep, error) {
	if err := p.holdBack(ctx, dir); err != nil {
		return nil, err
	}
	layOut := func(kinds []string) error {
		for i, r := range p.repos {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.loader.layOut(ctx, r, filepath.Join(dir.host, localID(i)), kinds...); err != nil {
				return err
			}
		}
		return nil
	}
	if err := layOut(kinds); err != nil {
		return nil, err
	}
	if err := p.checkNames(names); err != nil {
		return nil, err
	}
	steps, err := ask()
	var removal *removalError
	hasLists := slices.ContainsFunc(p.repos, func(r *rpmRepo) bool { _, ok := r.repomd.Find("filelists"); return ok })
	if err != nil && ctx.Err() == nil && hasLists && !errors.As(err, &removal) {
		if lerr := layOut(append(slices.Clone(kinds), "filelists")); lerr != nil {
			return nil, lerr
		}
		if rerr := os.RemoveAll(filepath.Join(dir.host, "cache")); rerr != nil {
			return nil, rerr
		}
		steps, err = ask()
	}
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("resolve %s: %w", strings.Join(names, " "), err)
	}
	return steps, err
}

// holdBack makes a repository, heldID, of the packages that are held, whose other versions the indexes leave out.
func (p *rpmPlan) holdBack(ctx context.Context, dir rpmDir) error {
	if len(p.loader.hold) == 0 {
		return nil
	}
	held := slices.SortedFunc(maps.Values(p.loader.hold), comparePackages)
	if err := p.loader.fetch.Fetch(ctx, "packages", PackageFiles(held)); err != nil {
		return err
	}
	return writeRPMLock(ctx, p.loader.fetch, held, rpmTrust{}, filepath.Join(dir.host, heldID))
}

const heldID = "held"

// localIDs are the names of the repositories on disk, with how the base's configuration chooses from them.
func (p *rpmPlan) localIDs(yield func(id string, r rpmrepo.Repo) bool) {
	for i, r := range p.repos {
		if !yield(localID(i), r.Repo) {
			return
		}
	}
	if len(p.loader.hold) > 0 {
		yield(heldID, rpmrepo.Repo{ModuleHotfixes: true})
	}
}

func comparePackages(a, b manifest.Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
}
