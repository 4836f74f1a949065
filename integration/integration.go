// Package integration lets the host in: one provider per thing of the host, each a function from facts about the host
// to mounts and variables. Providers are silent when the host lacks their thing. What they return is computed at every
// enter and never stored, so that an environment survives whatever the host does between two enters.
//
// The package reads the host through Host only, so that every provider can be tested against a host that is not there.
package integration

import (
	"io/fs"
	"path"
	"strings"
)

// Host is what a provider may look at.
type Host struct {
	Getenv func(string) string
	Stat   func(string) (fs.FileInfo, error) // follows symbolic links
	UID    int
	Home   string // absolute, links resolved; empty when the user has none
	User   string // login name
	Cwd    string // absolute, links resolved
}

// Mount binds Source of the host to Target inside.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Edits are what providers ask for.
type Edits struct {
	Mounts []Mount
	Env    []string // NAME=value
}

// Provider is one thing of the host.
type Provider interface {
	Name() string
	Edits(h Host) Edits
}

// Session returns the providers of an ordinary session. shareNetwork is false for an environment with a network of its own.
func Session(shareNetwork bool) []Provider {
	p := []Provider{home{}, terminal{}, locale{}}
	if shareNetwork {
		p = append(p, resolver{})
	}
	return p
}

// Collect joins what the providers ask for.
func Collect(h Host, providers []Provider) Edits {
	var all Edits
	for _, p := range providers {
		e := p.Edits(h)
		all.Mounts = append(all.Mounts, e.Mounts...)
		all.Env = append(all.Env, e.Env...)
	}
	return all
}

// WorkingDir is the host's working directory where the mounts show it inside, at its deepest mount; else fallback.
func WorkingDir(cwd string, mounts []Mount, fallback string) string {
	best, inside := -1, fallback
	for _, m := range mounts {
		rest, ok := below(cwd, m.Source)
		if ok && len(m.Source) > best {
			best, inside = len(m.Source), path.Join(m.Target, rest)
		}
	}
	return inside
}

// below gives what follows dir in p, when p is dir or lies below it.
func below(p, dir string) (string, bool) {
	if p == dir {
		return "", true
	}
	return strings.CutPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
