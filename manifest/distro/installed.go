package distro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
)

var (
	_ Lister = Apt{}
	_ Lister = Pacman{}
)

// Installed reads dpkg's database, and apt's of what was installed only because others need it.
func (Apt) Installed(_ context.Context, sb Sandbox) ([]Installed, error) {
	have, err := readStatus(sb)
	if err != nil {
		return nil, err
	}
	archs, err := architectures(sb, have)
	if err != nil {
		return nil, err
	}
	automatic, err := readAutomatic(sb)
	if err != nil {
		return nil, err
	}
	var out []Installed
	for _, p := range have {
		arch := p.Arch
		if arch == "all" { // apt notes these under its own
			arch = archs[0]
		}
		out = append(out, Installed{Name: p.Name, Version: p.Version, Arch: p.Arch, Explicit: !automatic[instance(p.Name, arch)], Foreign: arch != archs[0]})
	}
	return out, nil
}

// CompareVersions is dpkg's order.
func (Apt) CompareVersions(a, b string) int { return aptrepo.CompareVersions(a, b) }

// readAutomatic reads which packages apt has installed for others, as instances. Without the file there are none.
func readAutomatic(t aptrepo.Tree) (map[string]bool, error) {
	f, err := t.Open("/var/lib/apt/extended_states")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read apt's states: %w", err)
	}
	defer f.Close()
	out := make(map[string]bool)
	sc := aptrepo.NewScanner(f, false)
	for {
		raw, err := sc.Next()
		if err == io.EOF {
			return out, nil
		}
		var s aptrepo.Stanza
		if err == nil {
			s, err = aptrepo.ParseStanza(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("read apt's states, line %d: %w", sc.Line(), err)
		}
		if s.Get("Auto-Installed") == "1" {
			out[instance(s.Get("Package"), s.Get("Architecture"))] = true
		}
	}
}

// Installed reads pacman's database.
func (Pacman) Installed(_ context.Context, sb Sandbox) ([]Installed, error) {
	var out []Installed
	err := pacmanrepo.List(sb, func(p pacmanrepo.Installed, explicit bool) {
		out = append(out, Installed{Name: p.Name, Version: p.Version, Arch: p.Arch, Explicit: explicit})
	})
	return out, err
}

// CompareVersions is pacman's order.
func (Pacman) CompareVersions(a, b string) int { return pacmanrepo.CompareVersions(a, b) }
