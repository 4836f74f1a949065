package distro

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/manifest"
)

// eachLocked has one copy the file of each package out of the vault, some at a time. What is damaged there is fetched
// again, once. Errors name their package.
func eachLocked(ctx context.Context, f Fetcher, pkgs []manifest.Package, one func(i int, p manifest.Package) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, p := range pkgs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := one(i, p)
			if errors.Is(err, ErrCorrupt) {
				if err = f.Fetch(ctx, "packages", PackageFiles([]manifest.Package{p})); err == nil {
					err = one(i, p)
				}
			}
			if err != nil {
				return fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
			}
			return nil
		})
	}
	return group.Wait()
}
