package integration

import (
	"slices"
	"strings"
)

// Thing is one thing of the host, and whether a session reaches it.
type Thing struct {
	Name    string   `json:"name"`
	Allowed bool     `json:"allowed"`
	Present bool     `json:"present"` // allowed, and the host has it
	Paths   []string `json:"paths"`   // inside; "PATH" or "PATH (read-only)"
	Env     []string `json:"env"`     // names of variables
}

// Describe tells of every thing that a policy decides about whether a session reaches it, on this host and now.
func Describe(h Host, p Policy) []Thing {
	asked := p.providers()
	things := []Thing{describe("home", h, asked), describe("terminal", h, asked)}
	for _, name := range switches() {
		things = append(things, describe(name, h, asked))
	}
	return things
}

func describe(name string, h Host, asked []Provider) Thing {
	t := Thing{Name: name, Paths: []string{}, Env: []string{}}
	for _, provider := range asked {
		if provider.Name() != name {
			continue
		}
		t.Allowed = true
		e := provider.Edits(h)
		for _, m := range e.Mounts {
			t.Paths = append(t.Paths, m.String())
		}
		for _, kv := range e.Env {
			name, _, _ := strings.Cut(kv, "=")
			t.Env = append(t.Env, name)
		}
	}
	slices.Sort(t.Env)
	t.Env = slices.Compact(t.Env)
	t.Present = len(t.Paths)+len(t.Env) > 0
	return t
}

// String is the mount in words.
func (m Mount) String() string {
	switch {
	case m.Source == "":
		return m.Target + " (empty, in memory)"
	case m.ReadOnly && m.Source == m.Target:
		return m.Target + " (read-only)"
	case m.ReadOnly:
		return m.Target + " (read-only, the host's " + m.Source + ")"
	case m.Source == m.Target:
		return m.Target
	}
	return m.Target + " (the host's " + m.Source + ")"
}
