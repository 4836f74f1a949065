package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

func quoted(s string) string { return strconv.QuoteToGraphic(s) }

// Stop ends everything that runs in an environment and returns when it is gone. stopped is false when nothing ran.
func (e *Engine) Stop(ctx context.Context, ref string, grace time.Duration) (r *storage.Record, stopped bool, err error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, false, err
	}
	state := s.EnvDir(r.EnvID, "state")
	st, err := backends.Running(state)
	if err != nil {
		return nil, false, backendFailure(err)
	}
	if st.Running {
		err = backends.Stop(ctx, state, grace)
		stopped = !errors.Is(err, backends.ErrNotRunning) // else it has just ended by itself
		if stopped && err != nil {
			return nil, false, backendFailure(err)
		}
	}
	return r, stopped, e.gone(ctx, state)
}

// end is what --force does first: everything that runs in an environment ends, and every run on its layers.
func (e *Engine) end(ctx context.Context, s *storage.Store, r *storage.Record) error {
	if _, _, err := e.Stop(ctx, string(r.EnvID), stopGrace); err != nil {
		return err
	}
	return e.endRuns(ctx, s, r.EnvID)
}

// gone waits for the end of an environment that nobody is in any more. A session that began meanwhile is not waited for.
func (e *Engine) gone(ctx context.Context, state string) error {
	err := backends.Forget(ctx, state)
	var be *backends.Error
	if errors.As(err, &be) && be.Kind == backends.Busy || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return backendFailure(err)
}

// Rename gives an environment another name.
func (e *Engine) Rename(ctx context.Context, ref, name string) (*storage.Record, error) {
	if !manifest.ValidName(name) {
		return nil, badName(name)
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if err := s.Rename(ctx, r, name); err != nil {
		return r, nameFailure(err)
	}
	e.renewExports(ctx, s, r, e.exportedBy(s, r.EnvID))
	return r, nil
}

func nameFailure(err error) error {
	var taken *storage.NameTakenError
	if errors.As(err, &taken) && taken.ID {
		return failure.New(failure.General, err, "choose another name")
	}
	if errors.As(err, &taken) {
		return failure.New(failure.General, err, "karapace rename "+taken.Name+" OTHER, or choose another name")
	}
	return storeFailure(err)
}

// stopGrace is between TERM and KILL where --force stops an environment first.
const stopGrace = 5 * time.Second

// DestroyOptions are what destroy takes.
type DestroyOptions struct {
	Force bool // stop it first, and out of the archive too
}

// Destroy removes an environment and its writable layer. Its layers stay as long as other environments use them.
func (e *Engine) Destroy(ctx context.Context, ref string, o DestroyOptions) (*storage.Record, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if o.Force {
		if err := e.end(ctx, s, r); err != nil {
			return nil, err
		}
	}
	_, lock, err := e.aloneIn(ctx, s, r, storage.Destroy, o.Force)
	if err != nil {
		return nil, err
	}
	err = e.discard(ctx, s, r)
	lock.Unlock()
	if err != nil {
		return nil, err
	}
	e.prune(ctx, s)
	return r, e.Sweep(ctx)
}

// discard makes an environment garbage: one rename, after which nothing can start it.
func (e *Engine) discard(ctx context.Context, s *storage.Store, r *storage.Record) error {
	return s.ChangeNames(ctx, func() error {
		scratch, err := s.Scratch("destroy")
		if err != nil {
			return storeFailure(err)
		}
		defer scratch.Release()
		if err := os.Rename(s.EnvDir(r.EnvID), filepath.Join(scratch.Dir, "env")); err != nil {
			return storeFailure(fmt.Errorf("destroy environment: %w", err))
		}
		if err := storage.SyncDir(s.Path("envs")); err != nil {
			return storeFailure(err)
		}
		s.UnlinkName(r.Name)
		return nil
	})
}

// Sweep removes what commands that ended early have left.
func (e *Engine) Sweep(ctx context.Context) error {
	s, err := e.store()
	if err != nil {
		return err
	}
	var none struct{}
	return e.call(ctx, s, wire.Request{Sweep: &wire.Sweep{}}, &none)
}

// DestroyAll removes the store with all it holds.
func (e *Engine) DestroyAll(ctx context.Context, o DestroyOptions) error {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		e.prune(ctx, storage.At(e.StoreRoot)) // a removal that ended early may not have come to that
		return storeFailure(storage.RemoveRemains(e.StoreRoot))
	}
	if err != nil {
		return err
	}
	records, bad := s.Records()
	if len(bad) > 0 && !o.Force { // whether it is archived, or a session is in it
		return failure.New(failure.Store, errors.Join(bad...), "karapace verify-store --repair mends it; --force lets it go with all the others")
	}
	for _, r := range records {
		if o.Force {
			if err := e.end(ctx, s, r); err != nil {
				return err
			}
		}
		if err := allow(r, storage.Destroy, o.Force); err != nil {
			return err
		}
		if err := e.refuseRunning(ctx, s, r); err != nil {
			return err
		}
		if err := refuseUsed(s, r); err != nil {
			return err
		}
	}
	var none struct{}
	if err := e.call(ctx, s, wire.Request{Sweep: &wire.Sweep{All: true, Force: o.Force}}, &none); err != nil {
		return err
	}
	e.prune(ctx, s)
	if err := os.RemoveAll(s.Root()); err != nil {
		return storeFailure(err)
	}
	return storeFailure(storage.SyncDir(filepath.Dir(s.Root())))
}

// refuseRunning gives an error when a session is in the environment. One whose last session has just ended is waited for.
func (e *Engine) refuseRunning(ctx context.Context, s *storage.Store, r *storage.Record) error {
	err := backends.Forget(ctx, s.EnvDir(r.EnvID, "state"))
	var be *backends.Error
	if errors.As(err, &be) && be.Kind == backends.Busy {
		return failure.New(failure.General, &storage.RunningError{Name: displayName(r)}, "karapace stop "+displayName(r))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return backendFailure(err)
}
