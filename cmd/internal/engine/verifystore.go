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

// VerifyStore checks everything in the store. The report is there also when the error says that something is damaged.
func (e *Engine) VerifyStore(ctx context.Context) (*StoreReport, error) {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return &StoreReport{Problems: []StoreProblem{}, Notes: []StoreProblem{}}, nil
	}
	if err != nil {
		return nil, err
	}
	var res StoreReport
	if err := e.call(ctx, s, wire.Request{Check: &wire.Check{}}, &res); err != nil {
		return nil, err
	}
	if n := len(res.Problems); n > 0 {
		err = failure.New(failure.Store, fmt.Errorf("the store %s has %s", s.Root(), count(n, "problem")), "each is named above with what helps")
	}
	return &res, err
}
