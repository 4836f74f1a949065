package images

import (
	"context"
	"fmt"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// BootstrapPlan is everything a bootstrapped base is made of, pinned.
type BootstrapPlan struct {
	Packages     []manifest.Package    // by name
	Repositories []manifest.Repository // in the order of the sources
}

// ResolveBootstrap finds out what the base is made of: all Essential packages of the release and apt, with what they
// need, the newest version of each in the release and its updates. Every signed index is verified. Additions to a
// release that its archive says do not exist are left out.
func ResolveBootstrap(ctx context.Context, f distro.Fetcher, b Bootstrap) (*BootstrapPlan, error) {
	if b.Now.IsZero() {
		b.Now = time.Now()
	}
	sources, err := b.sources()
	if err != nil {
		return nil, err
	}
	arch := distro.DebianArch(b.Arch)
	suites, err := distro.LoadSuites(ctx, f, sources, distro.SuiteOptions{
		Archs: []string{arch}, Keys: b.keys, Now: b.Now,
		Optional: func(s aptrepo.Source) bool { return distro.AdditionalSuite(s.Suite) },
	})
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s/%s: %w", b.Distro, b.Release, err)
	}
	pkgs, err := readSuites(ctx, f, suites)
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s/%s: %w", b.Distro, b.Release, err)
	}
	chosen, err := aptrepo.Closure(pkgs, arch, []string{"apt"}, []string{"usr-is-merged"})
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s/%s: %w", b.Distro, b.Release, err)
	}
	plan := &BootstrapPlan{}
	for _, s := range suites {
		plan.Repositories = manifest.AddRepository(plan.Repositories, s.Repository())
	}
	for _, p := range chosen {
		if p.SHA256 == "" {
			return nil, fmt.Errorf("bootstrap %s/%s: the index has no sha256 for %s", b.Distro, b.Release, p.Name)
		}
		plan.Packages = append(plan.Packages, manifest.Package{
			Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256, Size: p.Size,
			Location: suites[p.Source].Location(p.Filename),
		})
	}
	return plan, nil
}

func readSuites(ctx context.Context, f distro.Fetcher, suites []*distro.Suite) ([]*aptrepo.Package, error) {
	var pkgs []*aptrepo.Package
	for i, s := range suites {
		for _, index := range s.Indexes {
			err := s.Read(f, index, func(p *aptrepo.Package, _ []byte) error {
				p.Source = i
				pkgs = append(pkgs, p)
				return ctx.Err()
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return pkgs, nil
}
