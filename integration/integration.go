// Package integration lets the host in: one provider per thing of the host, each a function from facts about the host
// to mounts and variables. Providers are silent when the host lacks their thing. What they return is computed at every
// enter and never stored, so that an environment survives whatever the host does between two enters.
//
// Which providers are asked is the Policy: a profile ("desktop", "project", "isolated") and single switches. A variable of
// the host passes only when a provider or the policy names it.
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
	Getenv  func(string) string
	Stat    func(string) (fs.FileInfo, error) // follows symbolic links
	Resolve func(string) (string, error)      // the path without symbolic links
	List    func(string) ([]string, error)    // names in a directory
	Read    func(string) ([]byte, error)      // a small file of the host; one that is too large is an error
	UID     int
	GID     int
	Home    string // absolute, links resolved; empty when the user has none
	User    string // login name
	Cwd     string // absolute, links resolved
	Project string // directory of the manifest; empty when there is none
	Private string // directory for a home of the environment's own
}

// Mount is one thing at Target inside: Source of the host, or, when Source is empty, an empty directory in memory that
// belongs to the user and is gone afterwards.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	Device         bool // Source is a device node or a directory of such, which may be opened as devices
	// Display makes of Source, an X authority file, only the keys of this local display, see Authority.
	Display string `json:",omitempty"`
}

// Edits are what providers ask for.
type Edits struct {
	Mounts []Mount
	Env    []string // NAME=value
}

func (e *Edits) mount(source, target string, readOnly bool) {
	e.Mounts = append(e.Mounts, Mount{Source: source, Target: target, ReadOnly: readOnly})
}

func (e *Edits) set(name, value string) { e.Env = append(e.Env, name+"="+value) }

// Provider is one thing of the host.
type Provider interface {
	Name() string // the switch that lets it in
	Edits(h Host) Edits
}

// Collect joins what the policy's providers ask for. Parents of mounts come before what lies below them.
func Collect(h Host, p Policy) Edits {
	var all Edits
	for _, provider := range p.providers() {
		e := provider.Edits(h)
		all.Mounts = append(all.Mounts, e.Mounts...)
		all.Env = append(all.Env, e.Env...)
	}
	for _, name := range p.PassEnv {
		if v := h.Getenv(name); v != "" {
			all.set(name, v)
		}
	}
	return withDirectories(h, all)
}

// withDirectories puts an empty directory in memory below the mounts of the user's runtime directory and of X11's sockets,
// so that they need no place in any layer.
func withDirectories(h Host, e Edits) Edits {
	var dirs []Mount
	for _, dir := range []string{runtimeDir(h), x11Sockets} {
		for _, m := range e.Mounts {
			if _, ok := below(m.Target, dir); ok {
				dirs = append(dirs, Mount{Target: dir})
				break
			}
		}
	}
	if len(dirs) > 0 && dirs[0].Target == runtimeDir(h) {
		e.set("XDG_RUNTIME_DIR", runtimeDir(h))
	}
	e.Mounts = append(dirs, e.Mounts...)
	return e
}

// WorkingDir is the host's working directory where the mounts show it inside, at its deepest mount; else fallback.
func WorkingDir(cwd string, mounts []Mount, fallback string) string {
	best, inside := -1, fallback
	for _, m := range mounts {
		if m.Source == "" {
			continue
		}
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
