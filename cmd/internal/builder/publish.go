package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// publish makes the environment of the built lock, if there is none: its directory is prepared aside and appears by one
// rename. Then the name goes over to it and the environment it replaces goes.
func (b *build) publish(ctx context.Context) (r *storage.Record, created bool, err error) {
	r, err = b.record()
	if err != nil {
		return nil, false, err
	}
	scratch, err := b.store.Scratch("env")
	if err != nil {
		return nil, false, failure.New(failure.Store, err, "")
	}
	defer b.drop(scratch)
	dir := filepath.Join(scratch.Dir, "env")
	if err := b.prepare(ctx, dir, r); err != nil {
		return nil, false, err
	}
	for {
		renewal, err := b.renew(ctx, r)
		if err == nil {
			err = b.store.ChangeNames(ctx, func() error {
				created, err = b.exchange(dir, scratch.Dir, r, renewal)
				return err
			})
		}
		renewal.end()
		if !errors.Is(err, errAppeared) {
			return r, created, failure.New(failure.Store, err, "")
		}
	}
}

// errAppeared says that the environment of the lock has come into being since a rebuild found that there was none.
var errAppeared = errors.New("the environment has just been made by another command")

// record describes the environment to be.
func (b *build) record() (*storage.Record, error) {
	l := b.lock
	r := &storage.Record{
		RecordVersion: 1, EnvID: l.ID(), Name: b.req.Name, State: "built", Arch: l.Arch, Backend: l.Backend,
		CreatedAt: time.Now().UTC().Truncate(time.Second),
		BaseImage: l.BaseImage, BaseLayer: l.Output.BaseLayer, PackageLayer: l.Output.PackageLayer, ImageDigest: l.Output.ImageDigest,
		BaseSize: b.base.Size, PackageSize: b.packages.Size, Packages: l.Requested, Apps: l.Apps,
		ImageEnv: b.base.Env, ManifestDir: b.req.Dir, Mounts: l.Mounts, Env: l.Env, Hardware: l.Hardware,
		NetworkIsolation: l.NetworkIsolation, CPUShares: l.CPUShares, MemoryLimitMB: l.MemoryLimitMB, Integration: l.Integration,
	}
	if b.manifest != nil { // what was pulled was built for another's
		r.ManifestID = b.manifest.PreliminaryID()
	}
	for _, l := range []layer{b.packages, b.base} {
		if l.ID == "" {
			continue
		}
		rel, err := filepath.Rel(b.store.Root(), l.Link)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, failure.New(failure.Store, fmt.Errorf("layer %s lies outside the store, at %s", l.ID, l.Link), "")
		}
		r.Lower = append(r.Lower, rel)
	}
	return r, nil
}

// prepare fills the directory of an environment. What the user's own process writes to belongs to the user.
func (b *build) prepare(ctx context.Context, dir string, r *storage.Record) (err error) {
	fail := func(err error) error {
		return failure.New(failure.Store, fmt.Errorf("prepare environment: %w", err), "")
	}
	for _, d := range []string{dir, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "host"), filepath.Join(dir, "state"), filepath.Join(dir, "copy")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fail(err)
		}
	}
	if err := bundle.Create(filepath.Join(dir, "bundle")); err != nil {
		return fail(err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "state"), filepath.Join(dir, "copy"), filepath.Join(dir, "bundle")} {
		if err := os.Chown(d, b.user.UID, b.user.GID); err != nil {
			return fail(err)
		}
	}
	if r.HostLayer, err = b.hostLayer(ctx, filepath.Join(dir, "host"), r); err != nil {
		return err
	}
	if b.extra != nil {
		if err := b.extra(dir, r); err != nil {
			return fail(err)
		}
	}
	body, err := storage.EncodeRecord(r)
	if err != nil {
		return fail(err)
	}
	for name, data := range map[string][]byte{"record.json": body, "karapace.lock": b.lock.Encode()} {
		if err := storage.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fail(err)
		}
		storage.WriteCopy(dir, name, data)
	}
	return failure.New(failure.Store, syncFS(dir), "")
}

// exchange is the commit: the name, the new environment, and the end of what it replaces. It runs alone.
func (b *build) exchange(dir, scratch string, r *storage.Record, renewal *renewal) (created bool, err error) {
	old, err := b.replaced(renewal.old, r)
	if err != nil {
		return false, err
	}
	var taken *storage.NameTakenError
	handover := false // the name leads to what is replaced
	if err := b.store.NameFree(r.Name, r.EnvID); errors.As(err, &taken) {
		if handover = old != nil && taken.By == old.EnvID; !handover {
			return false, failure.New(failure.General, err, b.takenHint(taken))
		}
	} else if err != nil {
		return false, failure.New(failure.Store, err, hintOf(err))
	}
	have, err := b.store.Record(r.EnvID)
	switch {
	case storage.Starved(err):
		return false, err
	case err == nil && !b.req.Fresh:
		return false, b.reuse(have, r)
	case err == nil && renewal.same == nil:
		return false, errAppeared
	}
	if !handover {
		if err := b.store.LinkName(r.Name, r.EnvID); err != nil {
			return false, err
		}
	}
	if renewal.same != nil && have != nil {
		err = b.renewInPlace(dir, r, have, renewal)
	} else {
		err = b.replaceDir(dir, r)
	}
	if err == nil && handover { // until here the name leads to the old one
		err = b.store.LinkName(r.Name, r.EnvID)
	}
	if err == nil && old != nil && old.EnvID != r.EnvID {
		err = b.retire(old, scratch)
	}
	return err == nil, err
}

// takenHint is what to do where another environment has the name.
func (b *build) takenHint(taken *storage.NameTakenError) string {
	if taken.ID {
		return "choose another name"
	}
	keeps := fmt.Sprintf("karapace rename %s OTHER keeps it", taken.Name)
	if b.req.File == "" { // it was pulled
		return keeps + "; karapace destroy " + taken.Name + " removes it"
	}
	rebuild := "karapace rebuild"
	if b.req.File != "karapace.toml" { // which it takes by itself
		rebuild += " " + b.req.File
	}
	return fmt.Sprintf("%s --name %s replaces it; %s", rebuild, taken.Name, keeps)
}

// replaced is what a rebuild replaces as it is now, when nobody renames it any more. The environment of the same lock may have another name
// than when the rebuild was begun; another one that was renamed was meant to be kept.
func (b *build) replaced(met, r *storage.Record) (*storage.Record, error) {
	if met == nil {
		return nil, nil
	}
	now, err := b.store.Record(met.EnvID)
	switch {
	case err != nil || now.Name == b.req.ReplacesName:
	case now.EnvID != r.EnvID:
		was := cmp.Or(b.req.ReplacesName, string(now.EnvID.Short()))
		err = failure.New(failure.General, fmt.Errorf("environment %s was renamed to %s meanwhile", was, now.Name),
			fmt.Sprintf("karapace rebuild --name %s replaces it; karapace build makes another beside it", now.Name))
	case b.req.Name == b.req.ReplacesName:
		r.Name = now.Name
	}
	return now, err
}

// reuse keeps an environment that is there already. It has one name; giving it another is renaming.
func (b *build) reuse(have, r *storage.Record) error {
	switch {
	case r.Name == "" || r.Name == have.Name:
		if b.store.NameFree(have.Name, r.EnvID) == nil && !b.store.Linked(have) {
			if err := b.store.LinkName(have.Name, r.EnvID); err != nil {
				return err
			}
		}
	case have.Name == "":
		have.Name = r.Name
		if err := b.store.LinkName(r.Name, r.EnvID); err != nil {
			return err
		}
		if err := b.store.WriteRecord(have); err != nil {
			return err
		}
	default:
		return failure.New(failure.General, fmt.Errorf("this lock is built already, as environment %s", have.Name), fmt.Sprintf("karapace rename %s %s", have.Name, r.Name))
	}
	if b.extra != nil {
		b.tell.Note("environment " + have.Title() + " is there already and stays as it is: no snapshots were taken over")
	}
	*r = *have
	return nil
}

// replaceDir moves a prepared directory to its place; what is there already without a record that can be read changes
// places with it and is swept away.
func (b *build) replaceDir(dir string, r *storage.Record) error {
	target := b.store.EnvDir(r.EnvID)
	err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("publish environment %s: %w", r.EnvID.Short(), err)
	}
	return storage.SyncDir(b.store.Path("envs"))
}

// retire takes the replaced environment out of the store; the scratch directory it goes to is swept.
func (b *build) retire(old *storage.Record, scratch string) error {
	if err := os.Rename(b.store.EnvDir(old.EnvID), filepath.Join(scratch, "old")); err != nil {
		return fmt.Errorf("remove replaced environment %s: %w", old.EnvID.Short(), err)
	}
	if err := storage.SyncDir(b.store.Path("envs")); err != nil {
		return err
	}
	b.store.UnlinkName(old.Name)
	return nil
}

// startSync is syncFS in the background. What is made aside need not survive anything.
func (b *build) startSync(path string) <-chan error {
	done := make(chan error, 1)
	if b.aside != nil {
		close(done)
	} else {
		go func() { done <- syncFS(path) }()
	}
	return done
}

// syncFS makes everything written so far to the file system of path survive a power cut.
func syncFS(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", path, err)
	}
	return nil
}
