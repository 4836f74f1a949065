package aptrepo

import (
	"fmt"
	"strings"
)

// Relation is one alternative of a dependency, or one thing provided.
type Relation struct {
	Name    string
	Arch    string // after the colon: "any", "native" or an architecture; often empty
	Op      string // empty, or one of << <= = >= >> (and the old < and >, which mean <= and >=)
	Version string
}

func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// ParseRelations parses a field such as Depends: all groups are needed, of each group one alternative.
func ParseRelations(field string) ([][]Relation, error) {
	var groups [][]Relation
	for text := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		var group []Relation
		for alt := range strings.SplitSeq(text, "|") {
			r, err := parseRelation(alt)
			if err != nil {
				return nil, err
			}
			group = append(group, r)
		}
		groups = append(groups, group)
	}
	return groups, nil
}

func parseRelation(text string) (Relation, error) {
	bad := func() (Relation, error) {
		return Relation{}, fmt.Errorf("%q is not a relation to a package", strings.TrimSpace(text))
	}
	name, rest, versioned := strings.Cut(text, "(")
	r := Relation{}
	r.Name, r.Arch, _ = strings.Cut(strings.TrimSpace(name), ":")
	if CheckName(r.Name) != nil || (r.Arch != "" && checkArch(r.Arch) != nil) {
		return bad()
	}
	if !versioned {
		return r, nil
	}
	inside, after, closed := strings.Cut(rest, ")")
	inside = strings.TrimSpace(inside)
	n := len(inside) - len(strings.TrimLeft(inside, "<>="))
	r.Op, r.Version = inside[:n], strings.TrimSpace(inside[n:])
	switch r.Op {
	case "<<", "<=", "=", ">=", ">>", "<", ">":
	default:
		return bad()
	}
	if !closed || strings.TrimSpace(after) != "" || checkVersion(r.Version) != nil {
		return bad()
	}
	return r, nil
}

// meets reports whether a package of this version is what r asks for, by its own name.
func (r Relation) meets(p *Package) bool {
	return p.Name == r.Name && satisfies(p.Version, r.Op, r.Version)
}

// metBy reports whether something provided is what r asks for: a version is only met by a versioned provision (policy 7.5).
func (r Relation) metBy(provided Relation) bool {
	if provided.Name != r.Name {
		return false
	}
	return r.Op == "" || provided.Op == "=" && satisfies(provided.Version, r.Op, r.Version)
}
