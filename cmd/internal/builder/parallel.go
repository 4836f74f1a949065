package builder

import (
	"context"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// filesAtOnce is how many small files are on their way at a time.
const filesAtOnce = 6

// parallel does f for all descriptors, several at once.
func parallel(ctx context.Context, all []ispec.Descriptor, f func(context.Context, ispec.Descriptor) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, d := range all {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, d)
		})
	}
	return g.Wait()
}
