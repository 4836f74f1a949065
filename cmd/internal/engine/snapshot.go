package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// builtRef is how people name the state without any snapshot.
const builtRef = "built"

// Snapshot is what the program tells about one snapshot. The JSON names are a promise, see docs/cli.md.
type Snapshot struct {
	Snapshot  digest.Digest `json:"snapshot"`
	Message   string        `json:"message"`
	CreatedAt time.Time     `json:"created_at"`
	Size      int64         `json:"size"`   // bytes of its tar
	Parent    digest.Digest `json:"parent"` // empty is the built state
	Current   bool          `json:"current"`
	Layer     digest.Digest `json:"layer"` // the digest of that tar
	Auto      bool          `json:"auto"`  // made by restore or rebuild
}

// Committed is a snapshot that was just made.
type Committed struct {
	EnvID   manifest.EnvID `json:"env_id"`
	ShortID string         `json:"short_id"`
	Name    string         `json:"name"`
	Snapshot
}

// Commit makes the drift of an environment a snapshot.
func (e *Engine) Commit(ctx context.Context, ref, message string) (*Committed, error) {
	if len(message) > storage.MessageLimit {
		return nil, failure.New(failure.Usage, fmt.Errorf("the message is longer than %d bytes", storage.MessageLimit), "")
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if err := e.mayChange(ctx, s, r, storage.Commit); err != nil {
		return nil, err
	}
	var res wire.CommitResult
	req := &wire.Commit{EnvID: r.EnvID, Message: strings.ToValidUTF8(message, "\uFFFD")}
	if err := e.call(ctx, s, wire.Request{Commit: req}, &res); err != nil {
		return nil, err
	}
	if res.Record != nil { // as it is now
		r = res.Record
	}
	if res.Snapshot == nil {
		return nil, failure.New(failure.General, errors.New("nothing to commit: environment "+displayName(r)+" is as "+stateName(r.Current)+" left it"), "")
	}
	return &Committed{EnvID: r.EnvID, ShortID: r.EnvID.Short(), Name: r.Name, Snapshot: describe(r, *r.Snapshot(res.Snapshot.ID))}, nil
}

// mayChange says early, and without karapace-store, what would keep an action from being done.
func (e *Engine) mayChange(ctx context.Context, s *storage.Store, r *storage.Record, a storage.Action) error {
	if err := allow(r, a, false); err != nil {
		return err
	}
	return e.refuseRunning(ctx, s, r)
}

// stateName names a snapshot, or the built state, for people.
func stateName(d digest.Digest) string {
	if d == "" {
		return "the build"
	}
	return "snapshot " + d.Encoded()[:12]
}

func describe(r *storage.Record, s storage.Snapshot) Snapshot {
	return Snapshot{
		Snapshot: s.ID, Message: s.Message, CreatedAt: s.CreatedAt.UTC(), Size: s.Size, Parent: s.Parent, Current: s.ID == r.Current,
		Layer: s.Layer, Auto: s.Auto,
	}
}

func snapshotSize(r *storage.Record) (total int64) {
	for _, s := range r.Snapshots {
		total += s.Size
	}
	return total
}

// Snapshots lists the snapshots of an environment, oldest first.
func (e *Engine) Snapshots(ref string) (*storage.Record, []Snapshot, error) {
	_, r, err := e.find(ref)
	if err != nil {
		return nil, nil, err
	}
	all := make([]Snapshot, 0, len(r.Snapshots))
	for _, s := range r.Snapshots {
		all = append(all, describe(r, s))
	}
	return r, all, nil
}

// snapshotOf finds the one snapshot that a reference means: an id, its hexadecimal digits, or enough of these.
func snapshotOf(s *storage.Store, r *storage.Record, ref string) (*storage.Snapshot, error) {
	found := r.Match(ref)
	switch len(found) {
	case 1:
		return &found[0], nil
	case 0:
		return nil, noSnapshot(s, r, ref)
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = f.ID.Encoded()
	}
	err := fmt.Errorf("snapshot %s of environment %s is ambiguous: it could be %s", quoted(ref), displayName(r), strings.Join(names, ", "))
	return nil, &failure.Error{Kind: failure.General, Err: err, Hint: "give more digits", Reason: failure.Ambiguous}
}

// noSnapshot says whose snapshot it is, if it is anybody's.
func noSnapshot(s *storage.Store, r *storage.Record, ref string) error {
	records, _ := s.Records()
	for _, other := range records {
		if other.EnvID != r.EnvID && len(other.Match(ref)) > 0 {
			return snapshotNotFound(r, fmt.Errorf("snapshot %s is of environment %s, not of %s", quoted(ref), displayName(other), displayName(r)))
		}
	}
	return snapshotNotFound(r, fmt.Errorf("environment %s has no snapshot %s", displayName(r), quoted(ref)))
}

func snapshotNotFound(r *storage.Record, err error) error {
	return &failure.Error{Kind: failure.General, Err: err, Hint: "karapace snapshots " + displayName(r) + " shows what there is", Reason: failure.NotFound}
}

// Restored is what restore did. The JSON names are a promise, see docs/cli.md.
type Restored struct {
	EnvID   manifest.EnvID `json:"env_id"`
	ShortID string         `json:"short_id"`
	Name    string         `json:"name"`
	Current digest.Digest  `json:"current_snapshot"` // empty is the built state
	Kept    digest.Digest  `json:"kept"`             // the snapshot that the drift became; empty when there was none
}

// Restore makes an environment what it was when a snapshot was made, or with "built" when it was built. Drift becomes a
// snapshot before, unless it is to be discarded. Without drift it takes one write of the record, whatever the size.
func (e *Engine) Restore(ctx context.Context, ref, snapshot string, discard bool) (*Restored, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	r, lock, err := e.aloneIn(ctx, s, r, storage.Restore, false)
	if err != nil {
		return nil, err
	}
	defer func() { lock.Unlock() }()
	var to digest.Digest
	if snapshot != builtRef {
		found, err := snapshotOf(s, r, snapshot)
		if err != nil {
			return nil, err
		}
		to = found.ID
	}
	if s.Pristine(r) {
		if r.Current != to {
			r, err = s.Update(ctx, r.EnvID, func(r *storage.Record) error { return r.GoTo(to) })
		}
		return restored(r, nil), storeFailure(err)
	}
	lock.Unlock() // karapace-store takes it, which outlives a karapace that is killed
	lock = nil
	var res wire.CommitResult
	req := &wire.Commit{EnvID: r.EnvID, Message: "before restore to " + shortState(to), Discard: discard, To: &to}
	if err := e.call(ctx, s, wire.Request{Commit: req}, &res); err != nil {
		return nil, err
	}
	return restored(res.Record, res.Snapshot), nil
}

func shortState(d digest.Digest) string {
	if d == "" {
		return builtRef
	}
	return d.Encoded()[:12]
}

func restored(r *storage.Record, kept *storage.Snapshot) *Restored {
	if r == nil {
		return nil
	}
	out := &Restored{EnvID: r.EnvID, ShortID: r.EnvID.Short(), Name: r.Name, Current: r.Current}
	if kept != nil {
		out.Kept = kept.ID
	}
	return out
}

// RemoveSnapshot removes a snapshot that is not the current one and that none other lies on.
func (e *Engine) RemoveSnapshot(ctx context.Context, ref, snapshot string) (*storage.Record, *Snapshot, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, nil, err
	}
	if err := e.mayChange(ctx, s, r, storage.RemoveSnapshot); err != nil {
		return nil, nil, err
	}
	snap, err := snapshotOf(s, r, snapshot)
	if err != nil {
		return nil, nil, err
	}
	after := *r
	if _, err := after.Remove(snap.ID); err != nil {
		return nil, nil, failure.New(failure.General, err, removeHint(r, *snap))
	}
	var none struct{}
	if err := e.call(ctx, s, wire.Request{RemoveSnapshot: &wire.RemoveSnapshot{EnvID: r.EnvID, ID: snap.ID}}, &none); err != nil {
		return nil, nil, err
	}
	told := describe(r, *snap)
	return r, &told, nil
}

// removeHint is what makes a snapshot removable.
func removeHint(r *storage.Record, snap storage.Snapshot) string {
	if r.Current == snap.ID {
		return fmt.Sprintf("karapace restore %s %s goes back to what it lies on", displayName(r), shortState(snap.Parent))
	}
	return fmt.Sprintf("karapace snapshots rm %s %s first", displayName(r), r.Children(snap.ID)[0].Short())
}
