package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// This file is the one place where failures become sentences and exit codes.
//
// A message begins with what could not be done, names the thing, and ends with the cause; no capital letter, no full
// stop. The hint is a next step the person can take, best a command. Both go to standard error.

// Exit codes; docs/cli.md promises them.
const (
	exitOK          = 0
	exitGeneral     = 1
	exitManifest    = 2
	exitStore       = 3
	exitLock        = 4
	exitBackend     = 5
	exitRemote      = 6
	exitUsage       = 64
	exitSession     = 125 // enter, exec and run: Karapace failed, not the command
	exitNotExec     = 126
	exitNotFound    = 127
	exitInterrupted = 130
)

// commandExit carries the exit code of a command that ran inside.
type commandExit int

func (c commandExit) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// sessionError marks failures of enter, exec and run.
type sessionError struct{ error }

func (e sessionError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var own commandExit
	var be *backends.Error
	var session sessionError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return int(own)
	}
	kind, _ := failure.Of(err)
	if errors.As(err, &session) && kind != failure.Usage {
		switch {
		case kind == failure.Interrupted:
			return exitInterrupted
		case !errors.As(err, &be):
			return exitSession
		case be.Kind == backends.NotExecutable:
			return exitNotExec
		case be.Kind == backends.NotFound:
			return exitNotFound
		}
		return exitSession
	}
	return kindCode(kind)
}

func kindCode(kind failure.Kind) int {
	switch kind {
	case failure.Manifest:
		return exitManifest
	case failure.Store:
		return exitStore
	case failure.Lock:
		return exitLock
	case failure.Backend:
		return exitBackend
	case failure.Remote:
		return exitRemote
	case failure.Usage:
		return exitUsage
	case failure.Interrupted:
		return exitInterrupted
	default:
		return exitGeneral
	}
}

// report tells the user about a failure, in words or as one JSON object.
func report(w io.Writer, err error, asJSON bool) {
	var own commandExit
	if err == nil || errors.As(err, &own) {
		return
	}
	kind, hint := failure.Of(err)
	message := printable(err.Error())
	if asJSON {
		type body struct {
			Kind    failure.Kind `json:"kind"`
			Message string       `json:"message"`
			Hint    string       `json:"hint"`
		}
		json.NewEncoder(w).Encode(map[string]body{"error": {kind, message, hint}})
		return
	}
	fmt.Fprintf(w, "karapace: %s\n", message)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", printable(hint))
	}
}

// printable takes control characters out of text that may come from an image, a server or a file name, so that it cannot
// act on the terminal. Line breaks and tabs are the program's own.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20, r >= 0x7f && r < 0xa0, r == 0xfffd:
			return '?'
		case r >= 0x200e && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '?'
		}
		return r
	}, s)
}
