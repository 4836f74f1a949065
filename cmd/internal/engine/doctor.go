package engine

import (
	"context"
	"errors"
	"time"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/doctor"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// ErrUnfit says that a check failed that Karapace needs.
var ErrUnfit = &failure.Error{Kind: failure.Backend, Err: errors.New("this host lacks something that Karapace needs"), Hint: "see the checks marked problem"}

// Doctor examines host and store. It changes nothing.
func (e *Engine) Doctor(ctx context.Context) []doctor.Check {
	s := &doctor.Subject{
		UID: e.User.UID, GID: e.User.GID, User: e.User.Name, Getenv: e.Getenv, Now: time.Now(),
		Programs: []string{e.Program, e.StoreProgram}, Store: e.StoreRoot, Subordinate: subordinate,
	}
	for _, b := range e.Backends(ctx) {
		s.Runtimes = append(s.Runtimes, doctor.Runtime{Name: b.Name, Path: b.Path, Version: b.Version, Available: b.Available, Reason: b.Reason})
	}
	_, err := storage.Open(e.StoreRoot)
	switch {
	case errors.Is(err, storage.ErrNoStore):
		s.NoStore = true
	case err != nil:
		s.StoreErr = err
		_, s.StoreHint = failure.Of(storeFailure(err))
	}
	return doctor.Examine(ctx, &host{e}, s)
}

// subordinate counts the ids that a mapping of the user's would have, wherever they are from.
func subordinate() (uids, gids uint64) {
	m, err := userns.Lookup()
	if err != nil || m == nil {
		return 0, 0
	}
	for _, r := range m.UID {
		uids += uint64(r.Size)
	}
	for _, r := range m.GID {
		gids += uint64(r.Size)
	}
	return uids - 1, gids - 1 // one of each is the user's own
}
