package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/namespace"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// A snapshot is the writable layer itself, which stays where it is: normalised in place, which changes nothing that a
// session would see and can be done again after a crash, and then named by the record, together with a new and empty
// writable layer. Until that one write nothing has happened; a directory that no record names is garbage.

// aloneIn waits until nobody else changes an environment, makes sure that no session is in it, and reads its record.
func (w *worker) aloneIn(ctx context.Context, id manifest.EnvID) (*storage.Record, *storage.Lock, error) {
	lock, err := w.store.AloneIn(ctx, id)
	if err != nil {
		return nil, nil, failure.New(failure.Store, err, "")
	}
	r, err := w.store.Record(id)
	if err == nil {
		err = w.refuseRunning(ctx, r)
	}
	if err != nil {
		lock.Unlock()
		return nil, nil, failure.New(failure.Store, err, "")
	}
	return r, lock, nil
}

// refuseRunning gives an error when a session is in an environment. One whose last session has just ended is waited for.
func (w *worker) refuseRunning(ctx context.Context, r *storage.Record) error {
	err := backends.Forget(ctx, w.store.EnvDir(r.EnvID, "state"))
	var be *backends.Error
	switch {
	case errors.As(err, &be) && be.Kind == backends.Busy:
		return failure.New(failure.General, &storage.RunningError{Name: r.Title()}, "karapace stop "+r.Title())
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// refuseUsed gives an error when karapace run is on the layers of an environment.
func (w *worker) refuseUsed(r *storage.Record) error {
	if !w.store.InUse(r.EnvID) {
		return nil
	}
	return failure.New(failure.General, fmt.Errorf("environment %s is used by a karapace run", r.Title()), "wait for that to end")
}

// allow asks the table of transitions.
func allow(r *storage.Record, a storage.Action, force bool) error {
	err := r.Allow(a, force)
	var state *storage.StateError
	if errors.As(err, &state) {
		return failure.New(failure.General, err, state.Hint())
	}
	return err
}

// commit makes the drift of an environment a snapshot, or discards it, and goes to another snapshot if asked to.
func (w *worker) commit(ctx context.Context, req *wire.Commit) (*wire.CommitResult, error) {
	r, lock, err := w.aloneIn(ctx, req.EnvID)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	action := storage.Commit
	if req.To != nil {
		action = storage.Restore
	}
	if err := allow(r, action, false); err != nil {
		return nil, err
	}
	res, upper := &wire.CommitResult{}, ""
	if req.Discard {
		upper, err = w.newUpper(r, true)
	} else {
		res.Snapshot, upper, err = w.capture(ctx, r, req.Message, req.To != nil)
	}
	if err != nil {
		return nil, err
	}
	if res.Snapshot == nil && req.To == nil {
		return &wire.CommitResult{Record: r}, nil
	}
	res.Record, err = w.store.Update(ctx, r.EnvID, func(r *storage.Record) error {
		r.Upper = upper
		if res.Snapshot != nil {
			r.Add(*res.Snapshot)
		}
		if req.To == nil {
			return nil
		}
		return r.GoTo(*req.To)
	})
	return res, failure.New(failure.Store, err, "")
}

// capture turns the writable layer of an environment into the snapshot it stands for, and makes a new one. When the layer
// changes nothing there is no snapshot, and the layer stays. The caller is alone in the environment and names both in its
// record.
func (w *worker) capture(ctx context.Context, r *storage.Record, message string, auto bool) (snap *storage.Snapshot, upper string, err error) {
	dir, now := w.store.UpperDir(r), time.Now().UTC().Truncate(time.Second)
	w.tell.Step("look at what has changed")
	err = fstree.Normalise(ctx, dir, fstree.NormaliseOptions{Epoch: now.Unix(), Lowers: w.store.Lowers(r)})
	if err != nil {
		return nil, "", cannotKeep(r, err)
	}
	if empty, err := storage.IsEmptyDir(dir); err != nil || empty {
		return nil, r.Upper, failure.New(failure.Store, err, "")
	}
	if upper, err = w.newUpper(r, false); err != nil { // which what follows brings to the disk too
		return nil, "", err
	}
	snap = &storage.Snapshot{Parent: r.Current, Message: message, CreatedAt: now, Dir: r.UpperName(), Auto: auto}
	if err = w.sum(ctx, r, snap); err != nil {
		os.Remove(w.store.EnvDir(r.EnvID, upper))
		return nil, "", err
	}
	return snap, upper, nil
}

// sum gives a snapshot its digests and size, and makes all that was written survive a power cut.
func (w *worker) sum(ctx context.Context, r *storage.Record, snap *storage.Snapshot) error {
	dir := w.store.EnvDir(r.EnvID, snap.Dir)
	written := make(chan error, 1) // begun while the digest is computed
	go func() { written <- syncFS(dir) }()
	id, size, err := fstree.Digest(ctx, dir)
	if err = errors.Join(err, <-written); err != nil {
		return cannotKeep(r, err)
	}
	snap.ID, snap.Layer, snap.Size = storage.SnapshotID(snap.Parent, id), id, size
	return w.checkChain(r, *snap)
}

// cannotKeep says what to do about a file that no layer can hold.
func cannotKeep(r *storage.Record, err error) error {
	var entry *fstree.EntryError
	if errors.As(err, &entry) {
		return failure.New(failure.General, fmt.Errorf("environment %s cannot be committed: %w", r.Title(), entry),
			"remove it or give it another name: karapace enter --root "+r.Title())
	}
	return failure.New(failure.Store, err, "")
}

// checkChain makes sure that what lies on one more snapshot can be mounted, by karapace run too, whose writable layer has
// a longer name than the environment's own.
func (w *worker) checkChain(r *storage.Record, snap storage.Snapshot) error {
	after := *r
	after.Add(snap)
	err := namespace.Mountable(backends.Rootfs{
		Lower: w.store.Lowers(&after), Upper: w.store.Path("tmp", "run-4294967295", "upper"), Work: w.store.Path("tmp", "run-4294967295", "work"), Volatile: true,
	})
	if err == nil {
		return nil
	}
	return failure.New(failure.General, fmt.Errorf("environment %s lies on %d snapshots, and the kernel mounts no more: %w", r.Title(), len(r.Chain()), err),
		"go back to an earlier one (karapace restore), or bring what must stay into the manifest and karapace rebuild")
}

// newUpper makes an empty writable layer, on disk when it is to be lasting, which is garbage until the record names it.
// What an earlier command has left there keeps its name.
func (w *worker) newUpper(r *storage.Record, lasting bool) (string, error) {
	for n := len(r.Snapshots) + 1; ; n++ {
		name := storage.UpperPrefix + strconv.Itoa(n)
		dir := w.store.EnvDir(r.EnvID, name)
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && lasting {
			err = errors.Join(storage.SyncDir(dir), storage.SyncDir(w.store.EnvDir(r.EnvID)))
		}
		return name, failure.New(failure.Store, err, "")
	}
}

// removeSnapshot forgets a snapshot that nothing lies on, and then removes what it holds.
func (w *worker) removeSnapshot(ctx context.Context, req *wire.RemoveSnapshot) error {
	r, lock, err := w.aloneIn(ctx, req.EnvID)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := errors.Join(allow(r, storage.RemoveSnapshot, false), w.refuseUsed(r)); err != nil {
		return err
	}
	var dir string
	_, err = w.store.Update(ctx, r.EnvID, func(r *storage.Record) error {
		dir, err = r.Remove(req.ID)
		return err
	})
	if err != nil {
		return failure.New(failure.General, err, "")
	}
	return failure.New(failure.Store, fstree.RemoveAll(w.store.EnvDir(r.EnvID, dir)), "")
}

// readSnapshots computes the digests of an environment's snapshots, while they cannot be removed.
func (w *worker) readSnapshots(ctx context.Context, id manifest.EnvID, res *wire.VerifyResult) error {
	lock, err := w.store.SettledIn(ctx, id)
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	defer lock.Unlock()
	r, err := w.store.Record(id)
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	for _, snap := range r.Snapshots {
		what := wire.SnapshotLayer + snap.Short()
		w.tell.Step("read " + what)
		found, err := w.readSnapshot(ctx, r, snap)
		if err != nil {
			return err
		}
		res.Layers = append(res.Layers, wire.VerifiedLayer{What: what, Digest: snap.Layer, Found: found})
	}
	return nil
}

// readSnapshot computes the digest of what is in a snapshot's place: empty when nothing is, or nothing that can be a layer.
func (w *worker) readSnapshot(ctx context.Context, r *storage.Record, snap storage.Snapshot) (digest.Digest, error) {
	found, _, err := fstree.Digest(ctx, w.store.EnvDir(r.EnvID, snap.Dir))
	if ctx.Err() == nil && errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return found, failure.New(failure.Store, err, "")
}
