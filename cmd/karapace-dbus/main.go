// Command karapace-dbus offers environments to the programs of a desktop: org.karapace.Manager1 on the session bus.
//
// # Vocabulary
//
// A call is a message that asks for something. What takes long is a job: an object of its own with progress, an end and a way to
// cancel it. Methods that wait for the end of a job are calls like others. A subscriber is a connection that has asked for the
// service to stay.
//
// # Life cycle
//
// The bus starts the service when its name is called. It ends when for a while there was no call, no job and no subscriber. It
// gives the name back first: the bus starts another service for what is called later. What was sent before is answered.
//
// # Invariants
//
//   - The service keeps nothing: all it tells is in the store, and several services, or a command line beside one, do no harm.
//   - Every job runs an engine of its own, as a command of karapace does.
//   - An environment is found before anything is done to it; an empty or ambiguous name does nothing.
//   - The interfaces are tables: what introspection tells and what is answered come from the same entries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/karapace/karapace/cmd/internal/surroundings"
)

// version is set by the linker from the tag.
var version = "0.0.0-dev"

// defaultIdle is how long the service stays with nothing to do.
const defaultIdle = time.Minute

func main() {
	err := run(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "karapace-dbus:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("karapace-dbus", flag.ContinueOnError)
	idle := flags.Duration("idle-timeout", defaultIdle, "end after so long with nothing to do; 0 is never")
	store := flags.String("store", os.Getenv("KARAPACE_STORE"), "the directory of the store; empty is the user's own")
	tell := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: karapace-dbus takes flags only", flags.Arg(0))
	}
	if *tell {
		fmt.Println("karapace-dbus", version)
		return nil
	}
	program, err := surroundings.Program()
	if err != nil {
		return err
	}
	if home, err := os.UserHomeDir(); err != nil || os.Chdir(home) != nil {
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := newService(program, *store, *idle)
	if err != nil {
		return err
	}
	return s.serve(ctx)
}
