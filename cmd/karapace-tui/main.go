// Command karapace-tui shows environments on the whole terminal, and works on them. karapace tui starts it.
//
// It is a model in the sense of bubbletea: Update changes the model and starts commands, commands do all that takes time through
// the engine and send a message with what came of it, View draws the model. One piece of work that changes the store runs at a
// time. Whatever comes from the store passes clean before it is drawn, so that no name or message acts on the terminal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/karapace/karapace/cmd/internal/surroundings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "karapace-tui:", clean(err.Error()))
		os.Exit(1)
	}
}

// run ends with the terminal as it was, also after a signal: bubbletea cares for INT, TERM and panics, the context for HUP.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP)
	defer stop()
	program, err := surroundings.Program()
	if err != nil {
		return err
	}
	e, err := surroundings.Engine(program, os.Getenv("KARAPACE_STORE"), []string{"tui"})
	if err != nil {
		return err
	}
	e.User.Umask = surroundings.Umask()
	stderr := os.Stderr
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	os.Stderr = null // programs that the engine starts would write into the picture; their errors come as errors
	defer func() { os.Stderr = stderr }()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(work, engineStore{e}, program, e.StoreRoot)
	_, err = tea.NewProgram(m, tea.WithAltScreen(), tea.WithContext(ctx)).Run()
	m.endJob()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}
