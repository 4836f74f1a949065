package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// act does what a key says to an environment.
func (m *model) act(key string, e engine.Environment) tea.Cmd {
	ref := string(e.EnvID)
	switch key {
	case "enter", "right", "i":
		return m.openDetails(e)
	case "e":
		return m.session(false, "enter", ref)
	case "x":
		m.prompt = &prompt{question: "run in " + label(e) + ": ", check: notEmpty, done: func(m *model, text string) tea.Cmd {
			return m.session(true, "exec", ref, "--tty", "--", "/bin/sh", "-c", text)
		}}
	case "s":
		return m.openSnapshots(e)
	case "d":
		return m.openDiff(e)
	case "c":
		m.prompt = &prompt{question: "commit " + label(e) + ", message: ", done: func(m *model, text string) tea.Cmd {
			return m.start(commit, "commit "+label(e), ref, text)
		}}
	case "f":
		if e.State == "frozen" {
			return m.start(unfreeze, "unfreeze "+label(e), ref, "")
		}
		return m.start(freeze, "freeze "+label(e), ref, "")
	case "S":
		return m.start(stop, "stop "+label(e), ref, "")
	case "D":
		m.askDestroy(e)
	}
	return nil
}

func notEmpty(s string) bool { return s != "" }

func (m *model) askDestroy(e engine.Environment) {
	if e.Running {
		m.fail(label(e) + " is running: S stops it, then it can be destroyed")
		return
	}
	m.prompt = &prompt{
		question: "destroy " + label(e) + " and what it holds? its name or y: ",
		check:    func(s string) bool { return s == "y" || s == label(e) },
		done: func(m *model, _ string) tea.Cmd {
			m.leave()
			return m.start(destroy, "destroy "+label(e), string(e.EnvID), "")
		},
	}
}

func (m *model) askRestore(e engine.Environment, snapshot string) {
	m.prompt = &prompt{
		question: fmt.Sprintf("restore %s of %s? y: ", short(snapshot), label(e)),
		check:    func(s string) bool { return s == "y" },
		done: func(m *model, _ string) tea.Cmd {
			m.leave()
			return m.start(restore, "restore "+label(e), string(e.EnvID), snapshot)
		},
	}
}

func (m *model) askBuild() tea.Cmd {
	m.prompt = &prompt{question: "build manifest: ", text: []rune("karapace.toml"), check: notEmpty, done: func(m *model, file string) tea.Cmd {
		m.prompt = &prompt{question: "name (may be empty): ", done: func(m *model, name string) tea.Cmd {
			work := m.start(build, "build "+file, file, name)
			if work == nil {
				return nil
			}
			return tea.Batch(work, m.openLog())
		}}
		return nil
	}}
	return nil
}

func (m *model) askSearch() tea.Cmd {
	m.prompt = &prompt{question: "/", text: []rune(m.filter), live: true, done: func(m *model, text string) tea.Cmd {
		m.filter = text
		m.search()
		m.settle()
		return m.gather(false)
	}}
	return nil
}

// session hands the terminal to the karapace binary.
func (m *model) session(pause bool, args ...string) tea.Cmd {
	args = append([]string{"--store", m.root}, args...)
	return tea.Exec(&session{cmd: exec.Command(m.karapace, args...), pause: pause}, func(err error) tea.Msg { return sessionMsg{err} })
}

// session is a command that has the terminal. What it said stays to be read until a key is pressed, when there is reason to.
type session struct {
	cmd   *exec.Cmd
	pause bool
}

func (s *session) SetStdin(r io.Reader)  { s.cmd.Stdin = r }
func (s *session) SetStdout(w io.Writer) { s.cmd.Stdout = w }
func (s *session) SetStderr(io.Writer)   { s.cmd.Stderr = s.cmd.Stdout }

// failedSession is the first exit code that is karapace's, not the command's.
const failedSession = 125

// Run returns when the command has ended. That it failed is its own affair, and was said by itself.
func (s *session) Run() error {
	err := s.cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	code := s.cmd.ProcessState.ExitCode()
	if s.pause || code >= failedSession {
		fmt.Fprintf(s.cmd.Stdout, "\n[exit code %d; enter goes back]", code)
		line := make([]byte, 1)
		for line[0] != '\n' && line[0] != '\r' {
			if n, err := os.Stdin.Read(line); n == 0 || err != nil {
				break
			}
		}
	}
	return nil
}
