package distro

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

// Plan resolves names with the pacman of the base against its own repositories, or against req.Mirror. Packages whose
// signatures count are fetched for it: a lock that names a package says that it was signed.
func (Pacman) Plan(ctx context.Context, sb Sandbox, f Fetcher, req Request) (*Plan, error) {
	p, err := newPacmanPlan(sb, f, req)
	if err != nil {
		return nil, err
	}
	if p.dir, err = newPacmanDir(sb, "pacman-plan"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(p.dir.host)
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	if err := p.checkNames(req.Names); err != nil {
		return nil, err
	}
	steps, err := p.simulate(ctx, req.Names)
	if err != nil {
		return nil, err
	}
	chosen, err := p.choose(req.Names, steps)
	if err != nil {
		return nil, err
	}
	return p.answer(ctx, chosen)
}

// pacmanPlan is one resolution on its way.
type pacmanPlan struct {
	sb    Sandbox
	fetch Fetcher
	dir   pacmanDir
	conf  *pacmanrepo.Conf
	arch  string
	base  map[string]pacmanrepo.Installed
	hold  map[string]manifest.Package // by name
	repos []*pacmanRepository         // that of the held ones last
	keys  *pgp.Web                    // nil until a signature is checked
}

// pacmanRepository is a repository as it was fetched.
type pacmanRepository struct {
	pacmanrepo.Repo
	url      string // the server that had it
	sha256   string // of the database
	packages map[string]*pacmanrepo.Package
	newest   int64 // build date of the packages in the plan
}

// heldRepository is the name of the one that is made of the held packages.
const heldRepository = "karapace-held"

// chosen is a package of the plan.
type chosen struct {
	*pacmanrepo.Package
	repo      *pacmanRepository
	requested bool
}

func newPacmanPlan(sb Sandbox, f Fetcher, req Request) (*pacmanPlan, error) {
	p := &pacmanPlan{sb: sb, fetch: f, hold: make(map[string]manifest.Package)}
	for _, h := range req.Hold {
		p.hold[h.Name] = h
	}
	for _, n := range req.Names {
		if !manifest.ValidPackageName(n) {
			return nil, fmt.Errorf("%q is not the name of a package", n)
		}
	}
	var err error
	if p.conf, err = readPacmanConf(sb); err != nil {
		return nil, err
	}
	if p.arch, err = architectureOf(p.conf, req.Arch); err != nil {
		return nil, err
	}
	if p.base, err = pacmanrepo.ReadLocal(sb); err != nil {
		return nil, err
	}
	for _, r := range pacmanMirrored(p.conf.Repos, req.Mirror) {
		p.repos = append(p.repos, &pacmanRepository{Repo: r, packages: make(map[string]*pacmanrepo.Package)})
	}
	if len(p.repos) == 0 {
		return nil, errors.New("the base's pacman has no repositories: add them to /etc/pacman.conf of the base image")
	}
	return p, nil
}

// checkNames refuses what is not the name of a package, all at once.
func (p *pacmanPlan) checkNames(names []string) error {
	unknown := make(map[string]*UnknownName)
	for _, n := range names {
		if _, have := p.base[n]; !have && p.find(n) == nil {
			unknown[n] = &UnknownName{Name: n, Near: near(n, p.known), Providers: p.providers(n)}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return newUnknownError(unknown)
}

// find gives the first repository that has a package.
func (p *pacmanPlan) find(name string) *pacmanRepository {
	for _, r := range p.repos {
		if r.packages[name] != nil {
			return r
		}
	}
	return nil
}

// known yields the names of all packages there are.
func (p *pacmanPlan) known(yield func(string) bool) {
	for _, r := range p.repos {
		for name := range r.packages {
			if !yield(name) {
				return
			}
		}
	}
}

func (p *pacmanPlan) providers(name string) []string {
	var out []string
	for _, r := range p.repos {
		for _, pkg := range r.packages {
			if slices.Contains(pkg.Provides, name) {
				out = append(out, pkg.Name)
			}
		}
	}
	return out
}

// pacmanMark begins the lines of pacman's answer that are meant.
const pacmanMark = "karapace-plan"

// pacmanStep is one line of it.
type pacmanStep struct{ repo, name, version string }

func (p *pacmanPlan) simulate(ctx context.Context, names []string) ([]pacmanStep, error) {
	args := []string{"-S", "--print", "--needed", "--print-format", pacmanMark + " %r %n %v", "--"}
	asked := 0
	for _, n := range names {
		if p.find(n) != nil { // else the base has it, and pacman would not know what to install
			args = append(args, n)
			asked++
		}
	}
	if asked == 0 {
		return nil, nil
	}
	out := limited{most: maxSimulation}
	c := p.dir.command(args...)
	c.Stdout = &out
	if err := p.sb.Run(ctx, c); err != nil {
		said := strings.TrimSpace(out.String())
		return nil, fmt.Errorf("resolve %s: %w\n%s", strings.Join(names, " "), err, said[max(0, len(said)-4<<10):])
	}
	if out.over {
		return nil, errors.New("resolve: pacman's answer is too long")
	}
	return parsePacmanPlan(out.Bytes())
}

// parsePacmanPlan reads lines like "karapace-plan core bash 5.2.026-2"; between them pacman may say other things.
func parsePacmanPlan(out []byte) ([]pacmanStep, error) {
	var steps []pacmanStep
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		rest, ok := strings.CutPrefix(line, pacmanMark)
		if !ok {
			continue
		}
		part := strings.Split(rest, " ")
		if len(part) != 4 || part[0] != "" || part[1] == "" || part[2] == "" || part[3] == "" {
			return nil, fmt.Errorf("pacman's plan has the line %q, which is not understood", line)
		}
		steps = append(steps, pacmanStep{part[1], part[2], part[3]})
	}
	return steps, nil
}

// choose finds what pacman wants to install, and what was asked for and is in the base already.
func (p *pacmanPlan) choose(names []string, steps []pacmanStep) ([]chosen, error) {
	var out []chosen
	planned := make(map[string]bool)
	for _, s := range steps {
		if planned[s.name] {
			return nil, fmt.Errorf("pacman's plan has %s twice", s.name)
		}
		planned[s.name] = true
		i := slices.IndexFunc(p.repos, func(r *pacmanRepository) bool { return r.Name == s.repo })
		if i < 0 || p.repos[i].packages[s.name] == nil || p.repos[i].packages[s.name].Version != s.version {
			return nil, fmt.Errorf("pacman wants %s %s of %s, which that repository does not have", s.name, s.version, s.repo)
		}
		out = append(out, chosen{p.repos[i].packages[s.name], p.repos[i], slices.Contains(names, s.name)})
	}
	for _, n := range names {
		if planned[n] {
			continue
		}
		c, err := p.inBase(n)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b chosen) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// inBase pins a package that the base has, at the base's version.
func (p *pacmanPlan) inBase(name string) (chosen, error) {
	have, ok := p.base[name]
	if !ok {
		return chosen{}, fmt.Errorf("pacman does not say which package it installs for %q", name)
	}
	for _, r := range p.repos {
		if pkg := r.packages[name]; pkg != nil && pkg.Version == have.Version {
			return chosen{pkg, r, true}, nil
		}
	}
	return chosen{}, fmt.Errorf("no repository has %s %s; the base has it already: leave it out of the manifest, or take a newer base", name, have.Version)
}

// answer pins the packages and checks their signatures.
func (p *pacmanPlan) answer(ctx context.Context, list []chosen) (*Plan, error) {
	plan := &Plan{}
	var signatures []pacmanSigned
	for _, c := range list {
		if c.repo.Name == heldRepository { // its signature was checked when it was locked, and is when it is installed
			p.noteHeld(c.Package)
			pkg := p.hold[c.Name]
			pkg.Requested = c.requested
			plan.Packages = append(plan.Packages, pkg)
			continue
		}
		if c.SHA256 == "" {
			return nil, fmt.Errorf("repository %s lists no sha256 for %s, so it cannot be locked", c.repo.Name, c.Name)
		}
		c.repo.newest = max(c.repo.newest, c.BuildDate)
		pkg := manifest.Package{Name: c.Name, Version: c.Version, Arch: c.Arch, SHA256: c.SHA256, Size: c.Size, Requested: c.requested,
			Location: c.repo.url + "/" + url.PathEscape(c.Filename)}
		level := c.repo.Level.Package
		sig := c.Signature
		var err error
		if sig == nil {
			sig, err = p.signature(ctx, pkg.Location, level)
		}
		if err != nil {
			return nil, fmt.Errorf("package %s %s: %w", c.Name, c.Version, err)
		}
		if level.On && sig != nil {
			sum := sha256.Sum256(sig)
			pkg.Signature = hex.EncodeToString(sum[:])
			signatures = append(signatures, pacmanSigned{pkg, sig, level})
		}
		plan.Packages = append(plan.Packages, pkg)
	}
	for _, r := range p.repos {
		if r.Name == heldRepository {
			continue
		}
		plan.Repositories = manifest.AddRepository(plan.Repositories, manifest.Repository{Location: r.url, Suite: r.Name, SHA256: r.sha256, Date: r.newest})
	}
	return plan, p.checkSignatures(ctx, signatures)
}
