package distro

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// Plan resolves names with the apt of the base against its own repositories, or against req.Mirror.
func (Apt) Plan(ctx context.Context, sb Sandbox, f Fetcher, req Request) (*Plan, error) {
	p, err := newAptPlan(sb, f, req)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.dir.host, 0o755); err != nil {
		return nil, fmt.Errorf("plan with apt: %w", err)
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
	return p.answer(req.Names, steps)
}

// aptPlan is one resolution on its way.
type aptPlan struct {
	sb      Sandbox
	fetch   Fetcher
	dir     aptDir
	mirror  string                      // of the request
	hold    map[string]manifest.Package // by instance
	sources []aptrepo.Source
	archs   []string // the native one first
	base    installed
	suites  []*Suite
	known   map[string][]candidate // by name
}

// candidate is one package file of the repositories.
type candidate struct {
	version, arch, filename, sha256 string
	size                            int64
	suite                           *Suite
}

func newAptPlan(sb Sandbox, f Fetcher, req Request) (*aptPlan, error) {
	p := &aptPlan{sb: sb, fetch: f, dir: newAptDir(sb.Shared(), "apt-plan"), mirror: req.Mirror, hold: make(map[string]manifest.Package), known: make(map[string][]candidate)}
	for _, h := range req.Hold {
		p.hold[instance(h.Name, h.Arch)] = h
	}
	var bad []error
	for _, n := range req.Names {
		bad = append(bad, aptrepo.CheckName(n))
	}
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	var err error
	if p.base, err = readStatus(sb); err != nil {
		return nil, err
	}
	if p.archs, err = architectures(sb, p.base); err != nil {
		return nil, err
	}
	if req.Arch != "" && DebianArch(req.Arch) != p.archs[0] {
		return nil, fmt.Errorf("the base is of architecture %s, not %s", p.archs[0], DebianArch(req.Arch))
	}
	if p.sources, err = aptSources(sb, p.archs[0], req.Mirror); err != nil {
		return nil, err
	}
	for i := range p.sources {
		p.sources[i].NeverExpires = p.sources[i].NeverExpires || req.AllowExpired
	}
	return p, nil
}

// load fetches, verifies and reads the indexes and lays them out as local repositories for apt.
func (p *aptPlan) load(ctx context.Context) error {
	var err error
	p.suites, err = LoadSuites(ctx, p.fetch, p.sources, SuiteOptions{
		Archs: p.archs, Keys: AptKeys(p.sb), Now: time.Now(),
		Optional: func(s aptrepo.Source) bool { return p.mirror != "" && AdditionalSuite(s.Suite) },
	})
	if err != nil {
		return err
	}
	var list strings.Builder
	for i, s := range p.suites {
		if err := ctx.Err(); err != nil {
			return err
		}
		repo := fmt.Sprintf("r%d", i)
		fmt.Fprintf(&list, "deb [trusted=yes] file:%s/%s %s %s\n", p.dir.inside, repo, s.Source.Suite, strings.Join(s.Source.Components, " "))
		if err := p.layOut(s, filepath.Join(p.dir.host, repo)); err != nil {
			return err
		}
	}
	if err := p.dir.prepare(); err != nil {
		return err
	}
	if err := p.holdBack(ctx, &list); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir.host, "sources.list"), []byte(list.String()), 0o644)
}

// holdBack adds a repository of the packages that are held, whose other versions writeIndex leaves out.
func (p *aptPlan) holdBack(ctx context.Context, list *strings.Builder) error {
	if len(p.hold) == 0 {
		return nil
	}
	held := slices.SortedFunc(maps.Values(p.hold), func(a, b manifest.Package) int {
		return strings.Compare(instance(a.Name, a.Arch), instance(b.Name, b.Arch))
	})
	if err := p.fetch.Fetch(ctx, "packages", PackageFiles(held)); err != nil {
		return err
	}
	for _, h := range held {
		p.known[h.Name] = append(p.known[h.Name], candidate{version: h.Version, arch: h.Arch, sha256: h.SHA256, size: h.Size})
	}
	return writeFlatRepository(ctx, p.dir, "held", p.fetch, held, list)
}

// layOut writes a suite as a local repository: the Release file with its name, origin and pinning, and the indexes,
// plain and without what resolving does not need. It remembers the package files on the way.
func (p *aptPlan) layOut(s *Suite, repo string) error {
	dists := filepath.Join(repo, "dists", s.Source.Suite)
	if s.Source.Flat() {
		dists = filepath.Join(repo, s.Source.Suite)
	}
	if err := os.MkdirAll(dists, 0o755); err != nil {
		return fmt.Errorf("lay out repository: %w", err)
	}
	var digests strings.Builder
	for _, index := range s.Indexes {
		name := filepath.Join(dists, path.Clean(index.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("lay out repository: %w", err)
		}
		sum, size, err := p.writeIndex(s, index, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&digests, " %s %d %s\n", sum, size, path.Clean(index.Name))
	}
	var text strings.Builder
	for _, f := range s.Release.Fields {
		switch strings.ToLower(f.Name) {
		case "valid-until", "acquire-by-hash", "signed-by":
		default:
			fmt.Fprintf(&text, "%s: %s\n", f.Name, strings.ReplaceAll(f.Value, "\n", "\n "))
		}
	}
	text.WriteString("SHA256:\n" + digests.String())
	return os.WriteFile(filepath.Join(dists, "Release"), []byte(text.String()), 0o644)
}

// useless are the fields that apt does not look at when it resolves; they are most of an index.
func useless(field string) bool {
	switch field {
	case "Description", "Description-md5", "Homepage", "Maintainer", "Original-Maintainer", "Tag", "Bugs", "Build-Ids",
		"MD5sum", "SHA1", "SHA512", "Ruby-Versions", "Python-Version", "Python-Egg-Name", "Cnf-Extra-Commands", "Cnf-Visible-Pkgname":
		return true
	}
	return false
}

func (p *aptPlan) writeIndex(s *Suite, index SuiteIndex, name string) (sum string, size int64, err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", 0, fmt.Errorf("lay out repository: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(file, hash), 256<<10)
	err = s.Read(p.fetch, index, func(pkg *aptrepo.Package, raw []byte) error {
		if _, held := p.hold[instance(pkg.Name, pkg.Arch)]; held {
			return nil
		}
		p.known[pkg.Name] = append(p.known[pkg.Name], candidate{pkg.Version, pkg.Arch, pkg.Filename, pkg.SHA256, pkg.Size, s})
		return aptrepo.WriteFields(out, raw, useless)
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return "", 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), info.Size(), nil
}

// step is one line of apt's simulation.
type step struct{ name, version, arch string }

// maxSimulation bounds the simulation's output, in bytes.
const maxSimulation = 16 << 20

func (p *aptPlan) simulate(ctx context.Context, names []string) ([]step, error) {
	if err := p.dir.update(ctx, p.sb); err != nil {
		return nil, err
	}
	out := limited{most: maxSimulation}
	args := slices.Concat([]string{"install", "-y", "-s", "-qq", "--no-install-recommends", "--"}, names)
	if err := p.dir.get(ctx, p.sb, &out, args...); err != nil {
		said := strings.TrimSpace(out.String())
		return nil, fmt.Errorf("resolve %s: %w\n%s", strings.Join(names, " "), err, said[max(0, len(said)-4<<10):])
	}
	if out.over {
		return nil, errors.New("resolve: apt's answer is too long")
	}
	return parseSimulation(out.Bytes(), p.archs[0])
}

// limited keeps up to most bytes of an output.
type limited struct {
	bytes.Buffer
	most int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > l.most {
		l.over = true
		return len(b), nil
	}
	return l.Buffer.Write(b)
}

// parseSimulation reads lines like "Inst git [1:2.30-1] (1:2.39-1 Debian:12/oldstable [amd64])". Removals are refused.
func parseSimulation(out []byte, native string) ([]step, error) {
	var steps []step
	var removed []string
	for line := range strings.SplitSeq(string(out), "\n") {
		kind, rest := first(line)
		name, rest := first(rest)
		name, _, _ = strings.Cut(name, ":")
		switch kind {
		case "Remv", "Purg":
			removed = append(removed, name)
		case "Inst":
			_, inside, ok := strings.Cut(rest, "(")
			inside, _, ok2 := strings.Cut(inside, ")")
			version, where := first(inside)
			i := strings.LastIndexByte(where, '[')
			if !ok || !ok2 || i < 0 || !strings.HasSuffix(where, "]") {
				return nil, fmt.Errorf("apt's plan has the line %q, which is not understood", line)
			}
			steps = append(steps, step{name, version, where[i+1 : len(where)-1]})
		}
	}
	if len(removed) > 0 {
		slices.Sort(removed)
		return nil, fmt.Errorf("installing them would remove packages of the base: %s", strings.Join(slices.Compact(removed), ", "))
	}
	return steps, nil
}

func first(s string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimSpace(s), " ")
	return word, strings.TrimSpace(rest)
}

// answer pins what apt wants to install, and what was asked for and is in the base already.
func (p *aptPlan) answer(names []string, steps []step) (*Plan, error) {
	plan := &Plan{}
	for _, s := range p.suites {
		plan.Repositories = manifest.AddRepository(plan.Repositories, s.Repository())
	}
	planned := make(map[string]bool)
	for _, st := range steps {
		pkg, err := p.pin(st)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, st.name) && (st.arch == p.archs[0] || st.arch == "all") {
			pkg.Requested, planned[st.name] = true, true
		}
		plan.Packages = append(plan.Packages, pkg)
	}
	for _, name := range names {
		if planned[name] {
			continue
		}
		have := p.base.any(name, p.archs[0])
		if have == nil {
			return nil, fmt.Errorf("apt does not say which package it installs for %q", name)
		}
		pkg, err := p.pin(step{name, have.Version, have.Arch})
		if err != nil {
			return nil, fmt.Errorf("%w; the base has it already: leave it out of the manifest, or take a newer base", err)
		}
		pkg.Requested = true
		plan.Packages = append(plan.Packages, pkg)
	}
	slices.SortFunc(plan.Packages, func(a, b manifest.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch, b.Name+"\x00"+b.Arch)
	})
	return plan, nil
}

func (p *aptPlan) pin(s step) (manifest.Package, error) {
	if h, ok := p.hold[instance(s.name, s.arch)]; ok && h.Version == s.version {
		h.Requested = false
		return h, nil
	}
	for _, c := range p.known[s.name] {
		if c.version != s.version || c.arch != s.arch {
			continue
		}
		if c.sha256 == "" {
			return manifest.Package{}, fmt.Errorf("repository %s lists no sha256 for %s, so it cannot be locked", c.suite.Source.URI, s.name)
		}
		return manifest.Package{Name: s.name, Version: s.version, Arch: s.arch, SHA256: c.sha256, Size: c.size, Location: c.suite.Location(c.filename)}, nil
	}
	return manifest.Package{}, fmt.Errorf("no repository has %s %s (%s)", s.name, s.version, s.arch)
}
