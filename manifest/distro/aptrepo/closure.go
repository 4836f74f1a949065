package aptrepo

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxSteps bounds the search of Closure; a base system needs a few hundred.
const maxSteps = 100_000

// Closure chooses a set of packages that is complete in itself: all Essential ones and those named in want, with what
// they need. Of each name only the newest version of all indexes counts (of equal ones, the earliest in pkgs). Of
// alternatives it takes what is already chosen, else one named in prefer, else the first that can be had; of several
// packages that provide a name, the one with the highest priority, then the first by name. So the same indexes always
// give the same set. It returns it sorted by name; the error names the chain that cannot be satisfied.
//
// arch is the distribution's name of the architecture; packages of others are left out.
func Closure(pkgs []*Package, arch string, want, prefer []string) ([]*Package, error) {
	c := newCloser(pkgs, arch, prefer)
	roots := slices.Clone(want)
	for name, p := range c.newest {
		if p.Essential {
			roots = append(roots, name)
		}
	}
	slices.Sort(roots)
	roots = slices.Compact(roots)
	var chosen []*Package
	for _, name := range roots {
		p := c.newest[name]
		if p == nil {
			return nil, fmt.Errorf("package %s is in none of the package indexes", name)
		}
		chosen = append(chosen, p)
		c.choose(p)
	}
	for _, p := range chosen {
		if err := c.satisfy(p, nil); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(c.order, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return c.order, nil
}

type provider struct {
	pkg *Package
	as  Relation
}

type closer struct {
	newest    map[string]*Package
	providers map[string][]provider
	prefer    map[string]bool
	chosen    map[string]*Package
	order     []*Package // chosen, in the order of choice
	steps     int
}

func newCloser(pkgs []*Package, arch string, prefer []string) *closer {
	c := &closer{
		newest:    make(map[string]*Package),
		providers: make(map[string][]provider),
		prefer:    make(map[string]bool),
		chosen:    make(map[string]*Package),
	}
	for _, name := range prefer {
		c.prefer[name] = true
	}
	for _, p := range pkgs {
		if p.Arch != arch && p.Arch != "all" {
			continue
		}
		if old := c.newest[p.Name]; old == nil || CompareVersions(p.Version, old.Version) > 0 {
			c.newest[p.Name] = p
		}
	}
	for _, p := range c.newest {
		for _, as := range provides(p) {
			c.providers[as.Name] = append(c.providers[as.Name], provider{p, as})
		}
	}
	for _, list := range c.providers {
		slices.SortFunc(list, func(a, b provider) int {
			return cmp.Or(rank(a.pkg.Priority)-rank(b.pkg.Priority), strings.Compare(a.pkg.Name, b.pkg.Name))
		})
	}
	return c
}

// provides lists what a package provides; a field that cannot be parsed provides nothing.
func provides(p *Package) []Relation {
	groups, err := ParseRelations(p.Provides)
	if err != nil {
		return nil
	}
	var out []Relation
	for _, g := range groups {
		out = append(out, g...)
	}
	return out
}

func rank(priority string) int {
	i := slices.Index([]string{"required", "important", "standard", "optional"}, priority)
	if i < 0 {
		return 4
	}
	return i
}

func (c *closer) choose(p *Package) {
	c.chosen[p.Name] = p
	c.order = append(c.order, p)
}

// undo takes back every choice after the first n.
func (c *closer) undo(n int) {
	for _, p := range c.order[n:] {
		delete(c.chosen, p.Name)
	}
	c.order = c.order[:n]
}

var errSearch = errors.New("the dependencies are too entangled to resolve")

// satisfy chooses what p needs; chain is how it was come by.
func (c *closer) satisfy(p *Package, chain []string) error {
	if c.steps++; c.steps > maxSteps || len(chain) > 500 {
		return errSearch
	}
	chain = append(chain, p.Name)
	groups, err := ParseRelations(p.PreDepends + "," + p.Depends)
	if err != nil {
		return fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	for _, group := range groups {
		if err := c.satisfyGroup(group, chain); err != nil {
			return err
		}
	}
	return nil
}

func (c *closer) satisfyGroup(group []Relation, chain []string) error {
	if c.met(group) {
		return nil
	}
	var first error
	for _, p := range c.candidates(group) {
		if other := c.conflict(p); other != "" {
			if first == nil {
				first = fmt.Errorf("%s needs %s, which conflicts with %s", strings.Join(chain, " needs "), p.Name, other)
			}
			continue
		}
		n := len(c.order)
		c.choose(p)
		err := c.satisfy(p, chain)
		if err == nil || errors.Is(err, errSearch) {
			return err
		}
		c.undo(n)
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return first
	}
	var alts []string
	for _, r := range group {
		text := r.String()
		if p := c.newest[r.Name]; p != nil {
			text += " (the newest is " + p.Version + ")"
		}
		alts = append(alts, text)
	}
	return fmt.Errorf("%s needs %s, which no package index has", strings.Join(chain, " needs "), strings.Join(alts, " or "))
}

// met reports whether a chosen package satisfies one of the alternatives.
func (c *closer) met(group []Relation) bool {
	for _, r := range group {
		if p := c.chosen[r.Name]; p != nil && r.meets(p) {
			return true
		}
		for _, pr := range c.providers[r.Name] {
			if c.chosen[pr.pkg.Name] == pr.pkg && r.metBy(pr.as) {
				return true
			}
		}
	}
	return false
}

// candidates lists the packages that would satisfy the group, the best first.
func (c *closer) candidates(group []Relation) []*Package {
	var out []*Package
	add := func(p *Package) {
		if c.chosen[p.Name] == nil && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, r := range group {
		if p := c.newest[r.Name]; p != nil && r.meets(p) {
			add(p)
		}
		for _, pr := range c.providers[r.Name] {
			if r.metBy(pr.as) {
				add(pr.pkg)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Package) int {
		switch {
		case c.prefer[a.Name] == c.prefer[b.Name]:
			return 0
		case c.prefer[a.Name]:
			return -1
		}
		return 1
	})
	return out
}

// conflict names a chosen package that cannot be installed together with p.
func (c *closer) conflict(p *Package) string {
	for _, other := range c.order {
		if excludes(p, other) || excludes(other, p) {
			return other.Name
		}
	}
	return ""
}

func excludes(a, b *Package) bool {
	if a.Conflicts == "" && a.Breaks == "" {
		return false
	}
	groups, err := ParseRelations(a.Conflicts + "," + a.Breaks)
	if err != nil {
		return false
	}
	for _, group := range groups {
		for _, r := range group {
			if r.meets(b) {
				return true
			}
			for _, as := range provides(b) {
				if r.metBy(as) {
					return true
				}
			}
		}
	}
	return false
}
