package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

const lockName = "karapace.lock"

// records brings back records and locks of environments from their copies. An environment of whose record both are lost
// goes to the quarantine, with all that was written in it.
func (r *repairer) records(ctx context.Context) error {
	entries, err := os.ReadDir(r.store.Path("envs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !storage.IsID(e.Name()) {
			continue
		}
		id := manifest.EnvID(e.Name())
		if err := r.record(ctx, id); err != nil {
			return err
		}
		if rec, err := r.store.Record(id); err == nil {
			if err := errors.Join(r.lock(rec), r.copies(rec)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repairer) record(ctx context.Context, id manifest.EnvID) error {
	if _, err := r.store.Record(id); err == nil || storage.Starved(err) {
		return err
	}
	path := r.found.below(r.store.EnvDir(id, "record.json"))
	lock, err := r.store.AloneIn(ctx, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := r.refuseRunning(ctx, &storage.Record{EnvID: id}); err != nil { // its directories are mounted
		r.could[path] = fmt.Sprintf("%v; end the session, then %s", err, repairs)
		return nil
	}
	rec, err := r.store.RecordCopy(id)
	if storage.Starved(err) {
		return err
	}
	if err != nil {
		r.did[path] = "its copy is lost too: the environment was put aside"
		err := r.aside(r.store.EnvDir(id))
		r.did[path] += ", " + r.did[r.found.below(r.store.EnvDir(id))]
		return err
	}
	unnamed, err := r.store.Unnamed(rec)
	if err != nil {
		return err
	}
	for _, name := range unnamed { // the copy may be older than they are
		if err := r.aside(r.store.EnvDir(id, name)); err != nil {
			return err
		}
	}
	r.did[path] = "restored from its copy"
	return r.store.ChangeNames(ctx, func() error { return r.store.WriteRecord(rec) })
}

// lock brings a lock back: from its copy, from the project, or from what was fetched ahead or is kept without a project.
func (r *repairer) lock(rec *storage.Record) error {
	file := r.store.EnvDir(rec.EnvID, lockName)
	out := manifest.Output{BaseLayer: rec.BaseLayer, PackageLayer: rec.PackageLayer, ImageDigest: rec.ImageDigest}
	have, err := readLock(file)
	if err == nil && have.ID() == rec.EnvID && have.Output == out {
		return nil
	}
	places := []string{file, r.store.CopyPath(rec.EnvID, lockName), r.store.Path("fetched", string(rec.EnvID)+".lock")}
	for _, dir := range []string{r.store.Path("quick"), rec.ManifestDir} {
		more, _ := storage.Glob(dir, "*.lock")
		places = append(places, more...)
	}
	for _, place := range places {
		l, err := readLock(place)
		if err != nil || l.ID() != rec.EnvID {
			continue
		}
		l.Output = out
		r.did[r.found.below(file)] = "restored from " + r.found.below(place)
		return storage.WriteFile(file, l.Encode(), 0o644)
	}
	r.could[r.found.below(file)] = "bring the lock of its project back to " + rec.ManifestDir + ", then " + repairs
	return nil
}

// copies makes those that are not as they should be.
func (r *repairer) copies(rec *storage.Record) error {
	dir := r.store.EnvDir(rec.EnvID)
	if err := r.directory(filepath.Join(dir, "copy")); err != nil {
		return err
	}
	for _, name := range []string{"record.json", lockName} {
		is, err := readBounded(filepath.Join(dir, name), manifest.MaxLockSize)
		if err != nil {
			continue
		}
		if have, err := readBounded(r.store.CopyPath(rec.EnvID, name), manifest.MaxLockSize); err != nil || string(have) != string(is) {
			storage.WriteCopy(dir, name, is)
		}
	}
	return nil
}

// directory makes one of an environment's, unless it is there. Those that sessions see nothing of belong to the user; what is a root for
// them belongs to theirs.
func (r *repairer) directory(dir string) error {
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if exists(dir) {
		if err := r.aside(dir); err != nil {
			return err
		}
	}
	r.did[r.found.below(dir)] = "made again, empty"
	err := os.Mkdir(dir, 0o755)
	if err == nil && slices.Contains([]string{"state", "bundle", "copy"}, filepath.Base(dir)) {
		err = os.Chown(dir, r.user.UID, r.user.GID)
	}
	return err
}

// environments makes them what their records say, and records what is there.
func (r *repairer) environments(ctx context.Context) error {
	records, _ := r.store.Records()
	for _, rec := range records {
		if !r.concerns(rec) {
			continue
		}
		now, lock, err := r.aloneIn(ctx, rec.EnvID)
		if err != nil {
			for _, p := range r.found.Problems {
				if strings.Contains(p.Path, string(rec.EnvID)) {
					r.could[p.Path] = fmt.Sprintf("%v; karapace stop %s, then %s", err, rec.Title(), repairs)
				}
			}
			continue
		}
		err = r.environment(ctx, now)
		lock.Unlock()
		if err != nil {
			return fmt.Errorf("repair environment %s: %w", rec.Title(), err)
		}
	}
	return nil
}

// concerns tells whether a problem is one of an environment, or of layers, which it may have in another place now.
func (r *repairer) concerns(rec *storage.Record) bool {
	return slices.ContainsFunc(r.found.Problems, func(p problem) bool {
		return strings.Contains(p.Path, string(rec.EnvID)) || p.Kind == "layer" || p.Kind == "index" || p.Kind == "image"
	})
}

func (r *repairer) environment(ctx context.Context, rec *storage.Record) error {
	for _, name := range []string{"state", "bundle", filepath.Join("bundle", "rootfs"), "work", rec.UpperName()} {
		if err := r.directory(r.store.EnvDir(rec.EnvID, name)); err != nil {
			return err
		}
	}
	changed := *rec
	if err := r.lower(&changed); err != nil {
		return err
	}
	if err := r.image(ctx, &changed); err != nil {
		r.cannotRebuild(rec, err)
	}
	if err := r.snapshots(ctx, &changed); err != nil {
		return err
	}
	if err := r.host(ctx, &changed); err != nil {
		r.cannotRebuild(rec, err)
	}
	_, err := r.store.Update(ctx, rec.EnvID, func(now *storage.Record) error {
		now.Lower, now.Snapshots, now.Current, now.Host, now.HostLayer = changed.Lower, changed.Snapshots, changed.Current, changed.Host, changed.HostLayer
		return nil
	})
	return err
}

// lower finds the layers where they are now.
func (r *repairer) lower(rec *storage.Record) error {
	var lower []string
	for _, d := range []digest.Digest{rec.PackageLayer, rec.BaseLayer} {
		if d == "" {
			continue
		}
		link, ok := r.found.link(d)
		if !ok {
			return nil
		}
		lower = append(lower, link)
	}
	rec.Lower = lower
	return nil
}

// image makes the image again where it is not whole.
func (r *repairer) image(ctx context.Context, rec *storage.Record) error {
	if r.found.good[rec.ImageDigest] {
		return nil
	}
	b, err := r.fromLock(rec)
	if err != nil {
		return err
	}
	b.base = layer{ID: rec.BaseLayer, Size: rec.BaseSize, Env: rec.ImageEnv}
	b.packages = layer{ID: rec.PackageLayer, Size: rec.PackageSize}
	d, err := b.image(ctx)
	if err == nil && d != rec.ImageDigest {
		err = fmt.Errorf("its image became %s", d)
	}
	return err
}

// host derives what the host adds again where it is not as it was.
func (r *repairer) host(ctx context.Context, rec *storage.Record) error {
	dir := r.store.HostDir(rec)
	if d, _, err := fstree.Digest(ctx, dir); err == nil && d == rec.HostLayer {
		return nil
	}
	scratch, err := r.store.Scratch("host")
	if err != nil {
		return err
	}
	defer r.drop(scratch)
	made := filepath.Join(scratch.Dir, "host")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if rec.HostLayer, err = r.hostLayer(ctx, made, rec); err != nil {
		return err
	}
	if err := syncFS(made); err != nil {
		return err
	}
	r.did[r.found.below(dir)] = "made again"
	rec.Host, err = r.newHost(made, rec.EnvID)
	return err
}

// snapshots that are not what they were become what they are: what is left of them is worth more than nothing, and has
// another name now, as all that lie on them.
func (r *repairer) snapshots(ctx context.Context, rec *storage.Record) error {
	renamed := map[digest.Digest]digest.Digest{"": ""}
	var all []storage.Snapshot
	for _, snap := range rec.Snapshots {
		dir := r.store.EnvDir(rec.EnvID, snap.Dir)
		if err := r.directory(dir); err != nil {
			return err
		}
		was := snap
		got, size, err := fstree.Digest(ctx, dir)
		switch {
		case err != nil && ctx.Err() != nil, storage.Starved(err):
			return failure.New(failure.Store, err, "")
		case err == nil && (got != snap.Layer || size != snap.Size):
			snap.Layer, snap.Size, snap.Message = got, size, damagedMessage(&was)
		}
		snap.Parent = renamed[was.Parent]
		snap.ID = storage.SnapshotID(snap.Parent, snap.Layer)
		renamed[was.ID] = snap.ID
		if err != nil {
			r.could[r.found.below(dir)] = fmt.Sprintf("%v; bring it back from a back-up, or karapace snapshots rm %s %s", err, rec.Title(), snap.Short())
		}
		if was.ID != snap.ID {
			r.did[r.found.below(dir)] = "kept as it is now, as snapshot " + snap.Short()
		}
		if !slices.ContainsFunc(all, func(s storage.Snapshot) bool { return s.ID == snap.ID }) { // two that lost all they had are one
			all = append(all, snap)
		}
	}
	rec.Snapshots, rec.Current = all, renamed[rec.Current]
	return nil
}

// damagedMessage says what a snapshot was, within what a message may have.
func damagedMessage(was *storage.Snapshot) string {
	why := " (damaged: was " + was.Short() + ")"
	message := was.Message
	if len(message)+len(why) > storage.MessageLimit {
		message = strings.ToValidUTF8(message[:storage.MessageLimit-len(why)], "")
	}
	return strings.TrimSpace(message + why)
}

// names makes them lead to their environments.
func (r *repairer) names(ctx context.Context) error {
	return r.store.ChangeNames(ctx, func() error {
		records, _ := r.store.Records()
		for _, rec := range records {
			if rec.Name == "" || r.store.NameFree(rec.Name, rec.EnvID) != nil {
				continue
			}
			if target, err := os.Readlink(r.store.Path("names", rec.Name)); err == nil && target == string(rec.EnvID) {
				continue
			}
			if err := os.RemoveAll(r.store.Path("names", rec.Name)); err != nil {
				return err
			}
			if err := r.store.LinkName(rec.Name, rec.EnvID); err != nil {
				return err
			}
		}
		return nil
	})
}
