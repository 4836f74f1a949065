package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// The names of errors, behind errorPrefix. docs/dbus.md says what they mean.
const (
	errorPrefix = "org.karapace.Error."

	notFound        = string(failure.NotFound)
	ambiguous       = string(failure.Ambiguous)
	invalidArgument = "InvalidArgument"
	running         = string(failure.Running)
	wrongState      = string(failure.WrongState)
	nameTaken       = string(failure.NameTaken)
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
	if errors.Is(err, context.Canceled) {
		return cancelled
	}
	if reason := engine.ReasonOf(err); reason != "" {
		return string(reason) // they are called the same
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
