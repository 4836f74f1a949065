package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// StoreProblem is one thing in the store that is not as it should be.
type StoreProblem = wire.Problem

// StoreReport is what verify-store found.
type StoreReport = wire.CheckResult

// VerifyStoreOptions are what verify-store takes.
type VerifyStoreOptions struct {
	Repair  bool // mend what can be mended, and put the rest aside
	Offline bool
	Backend string // that package managers run in
}

// VerifyStore checks everything in the store. The report is there also when the error says that something is damaged.
func (e *Engine) VerifyStore(ctx context.Context, o VerifyStoreOptions) (*StoreReport, error) {
	s, err := e.store()
	var other *storage.VersionError
	switch {
	case errors.Is(err, storage.ErrNoStore):
		return &StoreReport{Problems: []StoreProblem{}, Notes: []StoreProblem{}}, nil
	case errors.As(err, &other) && other.Found == 0:
		s = storage.At(e.StoreRoot)
	case err != nil:
		return nil, err
	}
	req := &wire.Check{Repair: o.Repair, Build: wire.Build{Offline: o.Offline, Backend: o.Backend}}
	if err := e.configure(&req.Build); err != nil {
		return nil, err
	}
	var res StoreReport
	if err := e.call(ctx, s, wire.Request{Check: req}, &res); err != nil {
		return nil, err
	}
	return &res, damaged(s, &res)
}

// damaged is what to say about problems that are left.
func damaged(s *storage.Store, res *StoreReport) error {
	n := Failed(res)
	if n == 0 {
		return nil
	}
	return failure.New(failure.Store, fmt.Errorf("the store %s has %s", s.Root(), Count(n, "problem")), "each is named with what helps")
}

// Count says how many there are of something.
func Count(n int, what string) string { return wire.Count(n, what) }

// Failed is how many problems are left.
func Failed(r *StoreReport) (n int) {
	for _, p := range r.Problems {
		if p.Mended == "" {
			n++
		}
	}
	return n
}
