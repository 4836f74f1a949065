package engine

import (
	"context"
	"errors"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// Migrated is what migrate did.
type Migrated = storage.Migrated

// Migrate brings the store to the version that this program knows, with a copy of its records as they were.
func (e *Engine) Migrate(ctx context.Context) (*Migrated, error) {
	_, err := storage.Open(e.StoreRoot)
	var other *storage.VersionError
	switch {
	case err == nil, errors.Is(err, storage.ErrNoStore):
		return &Migrated{From: storage.Version, To: storage.Version}, nil
	case !errors.As(err, &other) || other.Found == 0 || other.Found > storage.Version:
		return nil, storeFailure(err)
	}
	var res Migrated
	return &res, e.call(ctx, storage.At(e.StoreRoot), wire.Request{Migrate: &wire.Migrate{}}, &res)
}
