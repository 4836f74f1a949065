package distro

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// UnknownError lists all names that no repository has.
type UnknownError struct{ Names []UnknownName }

// UnknownName is a name that no repository has as a package.
type UnknownName struct {
	Name      string
	Near      []string // names that look like it, the nearest first
	Providers []string // packages that provide it, when it is a virtual one
}

func (e *UnknownError) Error() string {
	var text []string
	for _, u := range e.Names {
		line := fmt.Sprintf("package %q is in none of the repositories", u.Name)
		switch {
		case len(u.Providers) > 0:
			line = fmt.Sprintf("%q is no package, only a name that others provide: take one of %s", u.Name, strings.Join(u.Providers, ", "))
		case len(u.Near) > 0:
			line += "; did you mean " + strings.Join(u.Near, " or ") + "?"
		}
		text = append(text, line)
	}
	return strings.Join(text, "\n")
}

// checkNames refuses what is not the name of a package that can be installed, all at once.
func (p *aptPlan) checkNames(names []string) error {
	unknown := make(map[string]*UnknownName)
	for _, n := range names {
		ours := func(c candidate) bool { return c.arch == p.archs[0] || c.arch == "all" }
		if !slices.ContainsFunc(p.known[n], ours) && p.base.any(n, p.archs[0]) == nil {
			unknown[n] = &UnknownName{Name: n, Near: near(n, maps.Keys(p.known))}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for _, s := range p.suites { // only now: who provides what is of no interest otherwise
		for _, index := range s.Indexes {
			err := s.Read(p.fetch, index, func(pkg *aptrepo.Package, _ []byte) error {
				addProvider(unknown, pkg)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return newUnknownError(unknown)
}

func newUnknownError(unknown map[string]*UnknownName) error {
	e := &UnknownError{}
	for _, u := range unknown {
		slices.Sort(u.Providers)
		u.Providers = slices.Compact(u.Providers)
		e.Names = append(e.Names, *u)
	}
	slices.SortFunc(e.Names, func(a, b UnknownName) int { return strings.Compare(a.Name, b.Name) })
	return e
}

func addProvider(unknown map[string]*UnknownName, pkg *aptrepo.Package) {
	if pkg.Provides == "" {
		return
	}
	groups, err := aptrepo.ParseRelations(pkg.Provides)
	if err != nil {
		return
	}
	for _, g := range groups {
		for _, r := range g {
			if u := unknown[r.Name]; u != nil {
				u.Providers = append(u.Providers, pkg.Name)
			}
		}
	}
}

// near gives up to three known names that differ from name by few letters.
func near(name string, known iter.Seq[string]) []string {
	type match struct {
		name     string
		distance int
	}
	var found []match
	limit := 1 + len(name)/4
	for k := range known {
		if d := distance(name, k, limit); d <= limit && !slices.Contains(found, match{k, d}) {
			found = append(found, match{k, d})
		}
	}
	slices.SortFunc(found, func(a, b match) int { return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name)) })
	var out []string
	for _, m := range found[:min(3, len(found))] {
		out = append(out, m.name)
	}
	return out
}

// distance counts the letters to insert, delete, change or swap with their neighbour to make b of a; more than limit
// is not counted further.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		best := i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			best = min(best, row[j])
		}
		if best > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
