package main

import (
	"strings"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// printPolicy says in plain words what a session reaches.
func (p *program) printPolicy(ref string, o engine.SessionOptions) error {
	policy, err := p.engine.Policy(ref, o)
	if err != nil {
		return err
	}
	if p.json {
		return p.document(policy)
	}
	return p.table(policyRows(policy))
}

func policyRows(policy *engine.Policy) [][]string {
	rows := [][]string{
		{"environment", policy.Environment}, {"profile", policy.Profile},
		{"root", policy.Root}, {"network", map[string]string{"host": "the host's", "none": "its own, empty"}[policy.Network]},
	}
	for _, thing := range policy.Things {
		rows = append(rows, []string{thing.Name, reach(thing, policy.Home)})
	}
	if policy.Groups == "host" {
		rows = append(rows, []string{"groups", "your supplementary ones, for the devices"})
	}
	for _, m := range policy.Mounts {
		rows = append(rows, []string{"mount", m})
	}
	if len(policy.PassEnv) > 0 {
		rows = append(rows, []string{"variables", strings.Join(policy.PassEnv, " ")})
	}
	return rows
}

func reach(t engine.Thing, home string) string {
	var words []string
	switch {
	case !t.Allowed:
		return "kept out"
	case !t.Present:
		return "let in; this host has none"
	case t.Name == "home":
		words = append(words, map[string]string{
			"share": "the host's, writable:", "private": "one of the environment's own:", "project": "the project's directory only:", "none": "none of the host's:",
		}[home])
	}
	if len(t.Paths) > 0 {
		words = append(words, strings.Join(t.Paths, ", "))
	}
	if len(t.Env) > 0 {
		words = append(words, "by "+strings.Join(t.Env, ", "))
	}
	return strings.Join(words, " ")
}
