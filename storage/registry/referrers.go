package registry

import (
	"context"
	"errors"
	"fmt"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// referrersLimit bounds what may refer to one manifest.
const referrersLimit = 1000

// Referrers lists the artifacts of a type that refer to a manifest, by the registry's list or by the one below the
// fallback tag. Having none is no error. What they say is not verified.
func (c *Client) Referrers(ctx context.Context, subject ispec.Descriptor, artifactType string) ([]ispec.Descriptor, error) {
	var all []ispec.Descriptor
	err := c.repository().Referrers(ctx, subject, artifactType, func(page []ispec.Descriptor) error {
		all = append(all, page...)
		if len(all) > referrersLimit {
			return fmt.Errorf("more than %d artifacts refer to %s", referrersLimit, subject.Digest)
		}
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what refers to %s: %w", subject.Digest, plain(err))
	}
	return all, nil
}
