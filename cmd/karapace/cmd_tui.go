package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
)

// tuiName is the program that tui becomes: what it links is no cost of other commands.
const tuiName = "karapace-tui"

func (p *program) tuiCommand() *cli.Command {
	return &cli.Command{
		Name: "tui", Usage: "see and work on environments on the whole terminal",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(errors.New("karapace tui takes no argument"))
			}
			if p.json {
				return usage(errors.New("karapace tui prints no JSON; karapace list --json does"))
			}
			if !p.onTerminal() {
				return usage(errors.New("karapace tui needs a terminal; karapace list shows environments without one"))
			}
			return p.becomeTUI(c.String("color"))
		},
	}
}

// becomeTUI replaces this process, and tells the other what the flags said by way of its environment.
func (p *program) becomeTUI(color string) error {
	path, err := tuiProgram(p.engine.Program)
	if err != nil {
		return failure.New(failure.Backend, err, "install "+tuiName+" beside karapace or in PATH; it is part of every release, and make build makes it")
	}
	env := append(without(os.Environ(), "KARAPACE_STORE"), "KARAPACE_STORE="+p.engine.StoreRoot)
	if color == "never" {
		env = append(without(env, "NO_COLOR"), "NO_COLOR=1")
	}
	return failure.New(failure.General, fmt.Errorf("start %s: %w", path, unix.Exec(path, []string{tuiName}, env)), "")
}

func tuiProgram(self string) (string, error) {
	beside := filepath.Join(filepath.Dir(self), tuiName)
	if err := unix.Access(beside, unix.X_OK); err == nil {
		return beside, nil
	}
	path, err := exec.LookPath(tuiName)
	if err != nil {
		return "", fmt.Errorf("%s is not installed: it is neither in %s nor in PATH", tuiName, filepath.Dir(self))
	}
	return path, nil
}

func without(env []string, name string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			out = append(out, kv)
		}
	}
	return out
}
