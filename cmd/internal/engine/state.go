package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// allow asks the table of transitions.
func allow(r *storage.Record, a storage.Action, force bool) error {
	err := r.Allow(a, force)
	var state *storage.StateError
	if errors.As(err, &state) {
		return failure.New(failure.General, err, state.Hint())
	}
	return err
}

// aloneIn keeps sessions and other changes out of an environment for an action, if its state allows that and no session
// is in it. It returns the record as it is then.
func (e *Engine) aloneIn(ctx context.Context, s *storage.Store, r *storage.Record, a storage.Action, force bool) (*storage.Record, *storage.Lock, error) {
	lock, err := s.AloneIn(ctx, r.EnvID)
	if err != nil {
		return nil, nil, storeFailure(err)
	}
	now, err := s.Record(r.EnvID)
	if err == nil {
		err = allow(now, a, force)
	}
	if err == nil {
		err = e.refuseRunning(ctx, s, now)
	}
	if err == nil && a == storage.Destroy {
		err = refuseUsed(s, now)
	}
	if err != nil {
		lock.Unlock()
		return nil, nil, storeFailure(err)
	}
	return now, lock, nil
}

// refuseUsed gives an error when karapace run is on the layers of an environment.
func refuseUsed(s *storage.Store, r *storage.Record) error {
	if !s.InUse(r.EnvID) {
		return nil
	}
	return failure.New(failure.General, errors.New("environment "+displayName(r)+" is used by a karapace run"), "wait for that to end")
}

// errChanged says that an environment is no longer, or not yet, what a session was prepared for.
var errChanged = errors.New("the environment is being changed by another command")

// settled is asked by a session when no other one can start its environment any more: whoever changes the environment now
// sees that session, and whoever began before is seen here.
func settled(s *storage.Store, r *storage.Record) error {
	lock, err := s.TrySettledIn(r.EnvID)
	defer lock.Unlock()
	if err != nil {
		return err
	}
	if lock == nil || s.Changed(r) {
		return errChanged
	}
	return nil
}

// orGone is err, or if that is about a missing file of an environment that --force has taken away meanwhile, this. The caller may
// know it to be replaced, by one that has the same record.
func orGone(s *storage.Store, r *storage.Record, err error, replaced bool) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var gone *storage.NotFoundError
	if _, now := s.Record(r.EnvID); errors.As(now, &gone) {
		return notFound(gone)
	}
	if replaced || s.Changed(r) {
		return failure.New(failure.General, fmt.Errorf("environment %s was changed by another command: %w", displayName(r), err), "give the command again")
	}
	return err
}

// handedOver tells whether err is that an environment has gone, and what it was called by leads to the one that a rebuild has put in its
// place.
func (e *Engine) handedOver(ref string, r *storage.Record, err error) bool {
	var gone *storage.NotFoundError
	if !errors.As(err, &gone) {
		return false
	}
	_, now, err := e.find(ref)
	return err == nil && now.EnvID != r.EnvID
}

// awaitSettled waits until nobody changes an environment.
func (e *Engine) awaitSettled(ctx context.Context, s *storage.Store, r *storage.Record) error {
	lock, err := s.SettledIn(ctx, r.EnvID)
	lock.Unlock()
	return storeFailure(err)
}

// Freeze makes the root of an environment read-only for whoever enters it.
func (e *Engine) Freeze(ctx context.Context, ref string) (*storage.Record, bool, error) {
	return e.become(ctx, ref, storage.Freeze)
}

// Unfreeze lets sessions write again. changed is false when they could already.
func (e *Engine) Unfreeze(ctx context.Context, ref string) (*storage.Record, bool, error) {
	return e.become(ctx, ref, storage.Unfreeze)
}

// Archive keeps an environment from being entered or changed.
func (e *Engine) Archive(ctx context.Context, ref string) (*storage.Record, bool, error) {
	return e.become(ctx, ref, storage.Archive)
}

// Unarchive makes an environment what it was before it was archived.
func (e *Engine) Unarchive(ctx context.Context, ref string) (*storage.Record, bool, error) {
	return e.become(ctx, ref, storage.Unarchive)
}

// become gives an environment the state that an action leads to.
func (e *Engine) become(ctx context.Context, ref string, a storage.Action) (r *storage.Record, changed bool, err error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, false, err
	}
	r, lock, err := e.aloneIn(ctx, s, r, a, false)
	if err != nil {
		return nil, false, err
	}
	defer lock.Unlock()
	if r.State == r.After(a) {
		return r, false, nil
	}
	r, err = s.Update(ctx, r.EnvID, func(r *storage.Record) error {
		r.Become(r.After(a))
		return nil
	})
	return r, true, storeFailure(err)
}
