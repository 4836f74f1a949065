package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// fetchAhead brings everything that building the lock needs into the vault. The lock is noted, so that its files are not
// collected before it is built.
func (b *build) fetchAhead(ctx context.Context) (*wire.BuildResult, error) {
	if err := b.keepAhead(); err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	if b.ref.Kind == manifest.BaseRegistry {
		if err := b.timed("fetch base image", func() error { return b.bringRegistry(ctx) }); err != nil {
			return nil, err
		}
	}
	all := append(b.baseFiles(), b.packageFiles(b.lock.Packages)...)
	if err := b.timed("fetch files", func() error { return b.fetch.Fetch(ctx, "files", all) }); err != nil {
		return nil, remoteFailure(err)
	}
	res := &wire.BuildResult{Lock: b.lock.Encode(), Timings: b.timings, Files: len(all)}
	for _, f := range all {
		if info, err := os.Stat(b.fetch.Path(f.SHA256)); err == nil {
			res.Bytes += info.Size()
		}
	}
	return res, nil
}

// keepAhead notes the lock. Directory and file belong to the user, who may take the note away.
func (b *build) keepAhead() error {
	dir := b.store.Path("fetched")
	file := filepath.Join(dir, string(b.lock.ID())+".lock")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := storage.WriteFile(file, b.lock.Encode(), 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chown(dir, b.user.UID, b.user.GID), os.Chown(file, b.user.UID, b.user.GID))
}
