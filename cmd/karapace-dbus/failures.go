package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// The names of errors, behind errorPrefix. docs/dbus.md says what they mean.
const (
	errorPrefix = "org.karapace.Error."

	notFound        = "NotFound"
	ambiguous       = "Ambiguous"
	invalidArgument = "InvalidArgument"
	running         = "Running"
	wrongState      = "WrongState"
	nameTaken       = "NameTaken"
	cancelled       = "Cancelled"
	limitExceeded   = "LimitExceeded"
	accessDenied    = "AccessDenied"
	failed          = "Failed"
	badManifest     = "Manifest"
	badStore        = "Store"
	badLock         = "Lock"
	badBackend      = "Backend"
	badRemote       = "Remote"
)

func refuse(name, format string, args ...any) *dbus.Error {
	return &dbus.Error{Name: errorPrefix + name, Body: []any{text(fmt.Sprintf(format, args...))}}
}

// fault is an error as the bus has it: its name, and one text with the next step in its last line.
func fault(err error) *dbus.Error {
	if err == nil {
		return nil
	}
	var own *dbus.Error
	if errors.As(err, &own) {
		return own
	}
	message := err.Error()
	if _, hint := failure.Of(err); hint != "" {
		message = strings.TrimRight(message, "\n") + "\nhint: " + hint
	}
	return refuse(faultName(err), "%s", message)
}

// faultName is the name of an error: what is known of it exactly, else its kind.
func faultName(err error) string {
	var none *storage.NotFoundError
	var busy *engine.RunningError
	var state *storage.StateError
	var taken *storage.NameTakenError
	switch {
	case errors.Is(err, context.Canceled):
		return cancelled
	case errors.As(err, &none) && len(none.Matches) > 1:
		return ambiguous
	case errors.As(err, &none):
		return notFound
	case errors.As(err, &busy):
		return running
	case errors.As(err, &state):
		return wrongState
	case errors.As(err, &taken):
		return nameTaken
	}
	kind, _ := failure.Of(err)
	switch kind {
	case failure.Usage:
		return invalidArgument
	case failure.Interrupted:
		return cancelled
	case failure.Manifest:
		return badManifest
	case failure.Store:
		return badStore
	case failure.Lock:
		return badLock
	case failure.Backend:
		return badBackend
	case failure.Remote:
		return badRemote
	}
	return failed
}
