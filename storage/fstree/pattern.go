package fstree

import "strings"

// Policy says what of a tree cannot be kept as it is. Its patterns are paths below the root, with or without a leading
// slash; "*" stands for any bytes of one path component, a component "**" for any number of components, and "\" takes
// the byte after it as it is. A pattern that matches a directory takes all below it; "dir/*" spares the directory.
type Policy struct {
	Drop      []string // entries that are left out
	DropEmpty []string // files and directories that are left out when they are empty, for instance mount points
	Rewrites  []Rewrite
}

// Rewrite replaces the content of regular files of at most 16 MiB. epoch is NormaliseOptions.Epoch. Func must give back
// what it has made unchanged when it sees it again.
type Rewrite struct {
	Pattern string
	Func    func(old []byte, epoch int64) ([]byte, error)
}

// Literal is the pattern that matches exactly path.
func Literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(path)
}

// Actions of a policy. A value from actionRewrite on is the index of a rewrite.
const (
	actionDrop = iota
	actionDropEmpty
	actionRewrite
)

// rule is a pattern, split at its slashes, and what it asks for.
type rule struct {
	parts  []string
	action int
}

func (p *Policy) rules() []rule {
	var all []rule
	add := func(pattern string, action int) {
		if pattern = strings.Trim(pattern, "/"); pattern != "" {
			all = append(all, rule{strings.Split(pattern, "/"), action})
		}
	}
	for _, s := range p.Drop {
		add(s, actionDrop)
	}
	for _, s := range p.DropEmpty {
		add(s, actionDropEmpty)
	}
	for i, r := range p.Rewrites {
		add(r.Pattern, actionRewrite+i)
	}
	return all
}

// step returns which of the rules that hold for a directory apply to its child, and which hold for the child's children.
func step(rules []rule, name string) (actions []int, below []rule) {
	for _, r := range rules {
		if r.parts[0] == "**" {
			below = append(below, r)
			if r.parts = r.parts[1:]; len(r.parts) == 0 {
				actions = append(actions, r.action)
				continue
			}
		}
		if !match(r.parts[0], name) {
			continue
		}
		if len(r.parts) == 1 {
			actions = append(actions, r.action)
		} else {
			below = append(below, rule{r.parts[1:], r.action})
		}
	}
	return actions, below
}

// match matches one path component. It looks back at the last "*" only, so it is quadratic at worst.
func match(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		c, size, wild := token(pattern[p:])
		switch {
		case wild:
			star, mark = p, n
			p += size
		case size > 0 && c == name[n]:
			p += size
			n++
		case star >= 0:
			p = star + 1
			mark++
			n = mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// token reads the first element of a pattern: a byte, or a star.
func token(pattern string) (c byte, size int, wild bool) {
	switch {
	case pattern == "":
		return 0, 0, false
	case pattern[0] == '*':
		return 0, 1, true
	case pattern[0] == '\\' && len(pattern) > 1:
		return pattern[1], 2, false
	default:
		return pattern[0], 1, false
	}
}
