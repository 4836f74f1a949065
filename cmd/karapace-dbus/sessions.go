package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// session is a command in an environment. The karapace binary has it, as a process of its own: a terminal, signals and the end of
// this service are then matters of one session.
type session struct {
	options  engine.SessionOptions
	term     string   // what the caller's terminal is called
	terminal *os.File // nil: it has none
}

// killAfter is between TERM and KILL for one that is cancelled.
const killAfter = 10 * time.Second

// notRun is karapace's exit code when the command did not run.
const notRun = 125

func sessionOf(command []string, given dict) (*session, *dbus.Error) {
	o := optionsOf(given)
	n := &session{options: engine.SessionOptions{
		Args: command, User: o.text("user"), Cwd: o.text("workdir"), Env: o.texts("env"), Profile: o.text("profile"),
	}, term: o.text("term")}
	if refused := o.end(); refused != nil {
		return nil, refused
	}
	for _, variable := range n.options.Env {
		if !strings.Contains(variable, "=") { // which means the value that this service has, and nobody wants
			return nil, refuse(invalidArgument, "option \"env\": %q is not NAME=VALUE", variable)
		}
	}
	if len(command) == 0 && (n.options.User != "" || n.options.Cwd != "" || len(n.options.Env) > 0) {
		return nil, refuse(invalidArgument, "user, workdir and env are of a command, and there is none")
	}
	return n, nil
}

// words are the command line of karapace.
func (n *session) words(store, id string) []string {
	o := n.options
	words := []string{"--store", store, "enter"}
	if len(o.Args) > 0 {
		words[2] = "exec"
	}
	for _, flag := range [][2]string{{"--user", o.User}, {"--workdir", o.Cwd}, {"--profile", o.Profile}} {
		if flag[1] != "" {
			words = append(words, flag[0]+"="+flag[1])
		}
	}
	for _, variable := range o.Env {
		words = append(words, "--env="+variable)
	}
	if len(o.Args) == 0 {
		return append(words, id)
	}
	if n.terminal != nil {
		words = append(words, "--tty")
	}
	return append(append(words, id, "--"), o.Args...)
}

// run returns when the command has ended. What it says without a terminal goes where the service's own words go.
func (n *session) run(ctx context.Context, e *engine.Engine, id string) (dict, error) {
	defer n.close()
	if _, err := e.Spec(id, n.options); err != nil {
		return nil, err // of the errors that karapace could tell, those with a name
	}
	cmd := exec.CommandContext(ctx, e.Program, n.words(e.StoreRoot, id)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if n.terminal != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = n.terminal, n.terminal, n.terminal
		cmd.SysProcAttr.Setctty = true
	}
	if n.term != "" {
		cmd.Env = append(os.Environ(), "TERM="+n.term)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start karapace: %w", err)
	}
	n.close()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !errors.As(err, &exit):
		return nil, err
	}
	code := exitCode(cmd.ProcessState)
	result := dict{"exit_code": dbus.MakeVariant(int64(code))}
	if code == notRun {
		return result, failure.New(failure.General, errors.New("karapace ended with exit code 125: most likely the command did not run"), "why is where the command's own words go")
	}
	return result, nil
}

// exitCode is as a shell tells it.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// close lets go of the terminal: who has the other end is to see when the session has ended.
func (n *session) close() {
	if n.terminal != nil {
		n.terminal.Close()
	}
}

func (s *service) startCommand(_ dbus.Message, ref string, command []string, given dict) (dbus.ObjectPath, *dbus.Error) {
	n, refused := sessionOf(command, given)
	if refused == nil && len(command) == 0 {
		refused = refuse(invalidArgument, "there is no command")
	}
	if refused != nil {
		return "/", refused
	}
	return s.beginOn("exec", ref, n.run)
}

func (s *service) startInTerminal(_ dbus.Message, ref string, command []string, given dict, terminal dbus.UnixFD) (dbus.ObjectPath, *dbus.Error) {
	f := os.NewFile(uintptr(terminal), "the caller's terminal")
	if f == nil {
		return "/", refuse(invalidArgument, "there is no descriptor")
	}
	n, refused := sessionOf(command, given)
	if refused == nil {
		refused = isTerminal(f)
	}
	if refused != nil {
		f.Close()
		return "/", refused
	}
	n.terminal = f
	kind := "exec"
	if len(command) == 0 {
		kind = "enter"
	}
	path, refused := s.beginOn(kind, ref, n.run)
	if refused != nil {
		n.close()
	}
	return path, refused
}

func isTerminal(f *os.File) *dbus.Error {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return refuse(invalidArgument, "the descriptor is no terminal: %v", err)
	}
	return nil
}

// runEnvironment opens a session with the user's shell, which has nothing to read and so ends at once: it shows that one can.
func (s *service) runEnvironment(_ dbus.Message, ref string) (dict, *dbus.Error) {
	return s.onEnvironment("enter", ref, (&session{}).run)
}
