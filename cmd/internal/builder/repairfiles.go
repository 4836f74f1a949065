package builder

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
)

// files drops files of the vault that have other bytes than their names promise, and has those fetched again that can be.
func (r *repairer) files(ctx context.Context) error {
	bad := map[string]bool{}
	for _, p := range r.found.Problems {
		path := r.store.Path(p.Path)
		switch {
		case p.Kind == "file" && filepath.Dir(p.Path) == filepath.Join("vault", "sha256"):
			to := r.store.Path("vault", "bad", p.ID)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			if err := os.Rename(path, to); err != nil && !missing(err) {
				return err
			}
			bad[p.ID] = true
			r.did[p.Path] = "dropped: a build that needs it fetches it again"
		case p.Kind == "document", p.Kind == "build":
			r.did[p.Path] = "dropped: it is only remembered"
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if len(bad) == 0 || r.req.Build.Offline {
		return nil
	}
	records, _ := r.store.Records()
	for _, e := range records {
		if err := r.fetchAgain(ctx, e, bad); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			r.tell.Note(err.Error())
		}
	}
	return nil
}

// fetchAgain brings those of the dropped files that the lock of an environment names.
func (r *repairer) fetchAgain(ctx context.Context, e *storage.Record, bad map[string]bool) error {
	b, err := r.fromLock(e)
	if err != nil {
		return nil // it is a problem of its own
	}
	var files []distro.File
	for _, f := range append(b.baseFiles(), b.packageFiles(b.lock.Packages)...) {
		if bad[f.SHA256] {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil
	}
	if err := b.fetch.Fetch(ctx, "damaged files", files); err != nil {
		return err
	}
	for _, f := range files {
		r.did[filepath.Join("vault", "sha256", f.SHA256)] = "fetched again"
	}
	return nil
}

// notes mends what was kept for later: manifests and locks of environments without a project, locks fetched ahead. What
// cannot be had again is put aside.
func (r *repairer) notes(context.Context) error {
	for _, p := range r.found.Problems {
		path := r.store.Path(p.Path)
		switch dir := filepath.Dir(p.Path); {
		case dir != "quick" && dir != "fetched":
			continue
		case dir == "quick" && p.Kind == "lock" && r.quickLock(path):
			continue
		}
		if err := r.aside(path); err != nil {
			return err
		}
	}
	return nil
}

// quickLock brings a lock back from the environment that was built from it.
func (r *repairer) quickLock(path string) bool {
	id := manifest.ManifestID(strings.TrimSuffix(filepath.Base(path), ".lock"))
	records, _ := r.store.Records()
	for _, e := range records {
		if e.ManifestID != id {
			continue
		}
		if l, err := readLock(r.store.EnvDir(e.EnvID, lockName)); err == nil && storage.WriteFile(path, l.Encode(), 0o644) == nil {
			r.did[r.found.below(path)] = "restored from its environment"
			return os.Chown(path, r.user.UID, r.user.GID) == nil
		}
	}
	return false
}
