package layers

import (
	"errors"
	"fmt"
	"runtime"
)

// survive is deferred where containers/storage is called: its lock files panic when they cannot be opened, as on a full
// disk, and that is an error like others. What else panics is a fault of a program and goes on. The locks that were being
// taken are never given back, so that this process cannot use containers/storage any more.
func (s *Store) survive(err *error) {
	p := recover()
	if p == nil {
		return
	}
	cause, ok := p.(error)
	if fault := runtime.Error(nil); !ok || errors.As(cause, &fault) {
		panic(p)
	}
	cause = fmt.Errorf("containers/storage gave up: %w", cause)
	s.gaveUp.Store(&cause)
	*err = errors.Join(cause, *err)
}

// usable returns the error that containers/storage ended with, if it has.
func (s *Store) usable() error {
	if cause := s.gaveUp.Load(); cause != nil {
		return *cause
	}
	return nil
}
