// Package failure names the ways a command can fail, once for both binaries: the kind decides the exit code, the hint
// is the next step for the person at the prompt. The sentence itself is the error's text.
package failure

import (
	"context"
	"errors"
	"syscall"
)

// Kind is a class of failure. It is part of the JSON of errors and decides the exit code.
type Kind string

// The kinds. Interrupted is a command the user stopped.
const (
	General     Kind = "general"
	Manifest    Kind = "manifest"
	Store       Kind = "store"
	Lock        Kind = "lock"
	Backend     Kind = "backend"
	Remote      Kind = "remote"
	Usage       Kind = "usage"
	Interrupted Kind = "interrupted"
)

// Reason says exactly what a failure is, where another program may want to act on it; most have none.
type Reason string

// The reasons.
const (
	NotFound   Reason = "NotFound"
	Ambiguous  Reason = "Ambiguous"
	Running    Reason = "Running"
	WrongState Reason = "WrongState"
	NameTaken  Reason = "NameTaken"
)

// Error is a failure with its kind and, mostly, a next step.
type Error struct {
	Kind   Kind
	Err    error
	Hint   string
	Reason Reason
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New gives err a kind and a hint. An error that has a kind already keeps it; nil stays nil.
func New(kind Kind, err error, hint string) error {
	var have *Error
	if err == nil || errors.As(err, &have) {
		return err
	}
	return &Error{Kind: kind, Err: err, Hint: hint}
}

// Disk is err as a failure of the store, when its cause is a disk that is full or can only be read: whoever met it first took
// it for a failure of their own. It is nil for all other errors.
func Disk(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Error{Kind: Store, Err: err, Hint: "make room where the store is: karapace gc removes what nothing needs"}
	case errors.Is(err, syscall.EROFS):
		return &Error{Kind: Store, Err: err, Hint: "mount the file system of the store such that it can be written, or name another --store"}
	}
	return nil
}

// Output is err as a failure of the place that an export is written to, which need not be the store's disk. An error that has a kind
// already keeps it; nil stays nil.
func Output(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return New(General, err, "make room where the output is to be, or choose another place with -o")
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES):
		return New(General, err, "choose another place with -o")
	}
	return New(General, err, "")
}

// Of tells the kind and the hint of any error.
func Of(err error) (Kind, string) {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind, e.Hint
	case errors.Is(err, context.Canceled):
		return Interrupted, ""
	default:
		return General, ""
	}
}
