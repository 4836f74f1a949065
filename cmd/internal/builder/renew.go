package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// A rebuild of a lock whose environment is there renews it in place: name, state, age and snapshots stay, the drift
// becomes a snapshot, and the writable layer is a new one on the built state. A rebuild that gives another environment
// takes the place of the old one, which goes, and therefore must hold nothing of the user's unless that is forced.

// renewal is what a rebuild does to environments that are there. Nobody else changes them meanwhile.
type renewal struct {
	old   *storage.Record   // that gives up its name, nil when there is none
	same  *storage.Record   // of the lock that was built, nil when it has no environment yet
	drift *storage.Snapshot // of same, nil when there is none
	upper string            // the new writable layer of same
	locks []*storage.Lock
}

func (n *renewal) end() {
	for _, l := range n.locks {
		l.Unlock()
	}
}

// renew finds out what a rebuild meets, and secures the drift of what it renews. The caller ends what it returns, with an
// error too.
func (b *build) renew(ctx context.Context, r *storage.Record) (*renewal, error) {
	n := &renewal{}
	if !b.req.Fresh {
		return n, b.refuseDamaged(r.EnvID)
	}
	ids := []manifest.EnvID{r.EnvID, b.req.Replaces}
	slices.Sort(ids) // as everybody who locks two
	for _, id := range slices.Compact(ids) {
		if id == "" {
			continue
		}
		met, err := b.meet(ctx, n, id)
		if err != nil {
			return n, err
		}
		if id == r.EnvID {
			n.same = met
		}
		if id == b.req.Replaces {
			n.old = met
		}
	}
	if n.old != nil && n.old != n.same && !b.req.Force {
		if err := expendable(b.store, n.old); err != nil {
			return n, err
		}
	}
	return n, b.secure(ctx, n, r.Lower)
}

// expendable makes sure that an environment holds nothing that cannot be built again.
func expendable(s *storage.Store, r *storage.Record) error {
	err := s.Expendable(r)
	var work *storage.WorkError
	if errors.As(err, &work) {
		return failure.New(failure.General, err, work.Hint())
	}
	return err
}

// meet locks an environment, if there is one, and asks whether it may be rebuilt.
func (b *build) meet(ctx context.Context, n *renewal, id manifest.EnvID) (*storage.Record, error) {
	r, lock, err := b.aloneIn(ctx, id)
	var gone *storage.NotFoundError
	var damaged *storage.Error
	switch {
	case errors.As(err, &gone), errors.As(err, &damaged):
		return nil, b.lose(id, err)
	case err != nil:
		return nil, err
	}
	n.locks = append(n.locks, lock)
	if err := allow(r, storage.Rebuild, b.req.Force); err != nil {
		return r, err
	}
	return r, b.refuseUsed(r)
}

// refuseDamaged keeps a build from taking the place of an environment whose record is damaged and which holds what cannot be
// built again.
func (b *build) refuseDamaged(id manifest.EnvID) error {
	_, err := b.store.Record(id)
	if err == nil || storage.Starved(err) {
		return failure.New(failure.Store, err, "")
	}
	return b.lose(id, err)
}

// lose lets an environment go whose record is damaged, unless it holds what cannot be built again.
func (b *build) lose(id manifest.EnvID, damage error) error {
	var gone *storage.NotFoundError
	if b.req.Force || errors.As(damage, &gone) && !exists(b.store.EnvDir(id)) {
		return nil
	}
	if errors.As(damage, &gone) {
		damage = fmt.Errorf("the record of environment %s is missing", id.Short())
	}
	uppers, err := b.store.Uppers(id)
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	for _, name := range append(uppers, "home") {
		dir := b.store.EnvDir(id, name)
		if empty, err := storage.IsEmptyDir(dir); !missing(err) && (err != nil || !empty) {
			return failure.New(failure.Store, fmt.Errorf("%s; %s holds changes that would be lost", damage.Error(), dir),
				repairs+" brings its record back; or copy what you need of it, then karapace rebuild --force")
		}
	}
	return nil
}

// secure keeps the drift of an environment that is renewed on the layers that were built for it.
func (b *build) secure(ctx context.Context, n *renewal, lower []string) (err error) {
	if n.same == nil {
		return nil
	}
	n.upper = n.same.Upper
	if b.store.Pristine(n.same) {
		return nil
	}
	on := *n.same
	on.Lower = lower // those that the record names may just have been replaced
	n.drift, n.upper, err = b.capture(ctx, &on, "before rebuild", true)
	if err == nil || !b.req.Force {
		return err
	}
	b.tell.Note("the drift of " + on.Title() + " is not kept: " + err.Error())
	n.upper, err = b.newUpper(&on, true)
	return err
}

// renewInPlace makes the environment that is there the one that was built, by one write of its record. What the host adds is
// derived anew.
func (b *build) renewInPlace(dir string, r, have *storage.Record, n *renewal) error {
	if r.Name == "" {
		r.Name = have.Name
	}
	r.State, r.Was, r.CreatedAt = have.State, have.Was, have.CreatedAt
	r.Snapshots, r.Current, r.Upper = have.Snapshots, have.Current, n.upper
	if n.drift != nil {
		r.Add(*n.drift)
	}
	r.Current = ""
	lock := b.store.EnvDir(r.EnvID, "karapace.lock")
	if err := storage.WriteFile(lock, b.lock.Encode(), 0o644); err != nil {
		return err
	}
	storage.WriteCopy(b.store.EnvDir(r.EnvID), "karapace.lock", b.lock.Encode())
	var err error
	if r.Host, err = b.newHost(filepath.Join(dir, "host"), r.EnvID); err != nil {
		return err
	}
	if err := b.store.WriteRecord(r); err != nil {
		return err
	}
	fstree.RemoveAll(b.store.HostDir(have)) // what is left of it is garbage
	return nil
}

// newHost moves a host layer into an environment, where it is garbage until the record names it.
func (w *worker) newHost(dir string, id manifest.EnvID) (name string, err error) {
	for n := 1; ; n++ {
		name = storage.HostPrefix + strconv.Itoa(n)
		err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, w.store.EnvDir(id, name), unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return name, storage.SyncDir(w.store.EnvDir(id))
		case !errors.Is(err, fs.ErrExist):
			return "", fmt.Errorf("renew %s: %w", w.store.EnvDir(id, name), err)
		}
	}
}
