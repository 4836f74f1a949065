package engine

import (
	"slices"

	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/storage"
)

// Policy is what a session reaches of the host, on this host and now.
type Policy struct {
	Environment string   `json:"name"`
	Profile     string   `json:"profile"`
	Home        string   `json:"home"`
	Network     string   `json:"network"` // "host" or "none"
	Things      []Thing  `json:"things"`
	Mounts      []string `json:"mounts"`   // of the manifest
	PassEnv     []string `json:"pass_env"` // variables of the host that the manifest hands on
	Root        string   `json:"root"`     // "writable" or "read-only"
	Groups      string   `json:"groups"`   // supplementary ones: "host" or "none"
}

// Thing is one thing of the host.
type Thing = integration.Thing

// Policy tells what Exec would let the session reach.
func (e *Engine) Policy(ref string, o SessionOptions) (*Policy, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	return e.policyOf(s, r, o)
}

func (e *Engine) policyOf(s *storage.Store, r *storage.Record, o SessionOptions) (*Policy, error) {
	p, err := policy(r, o)
	if err != nil {
		return nil, err
	}
	host := e.host(s, r)
	told := &Policy{
		Environment: displayName(r), Profile: p.Profile, Home: p.Home, Network: "host", Root: "writable", Groups: "none",
		Things: integration.Describe(host, p), Mounts: []string{}, PassEnv: list(slices.Clone(p.PassEnv)),
	}
	if !p.Network {
		told.Network = "none"
	}
	if e.keepsGroups(integration.Collect(host, p).Mounts) {
		told.Groups = "host"
	}
	if r.State == storage.StateFrozen {
		told.Root = "read-only"
	}
	declared, err := e.declaredMounts(r)
	for _, m := range declared {
		told.Mounts = append(told.Mounts, m.String())
	}
	return told, err
}
