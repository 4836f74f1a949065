// Command karapace-runtime is an OCI runtime: the namespace backend under the command line that runc and crun have, for
// engines like podman and containerd. docs/runtime.md is for its users.
//
// It is a program of its own so that its start costs next to nothing: no command line library, no store.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/lifecycle"
)

var version = "0.0.0-dev" // set by the linker

// app is one call of the program.
type app struct {
	store *lifecycle.Store
	log   logger
	out   io.Writer
}

// command is one of the program's commands. It returns the exit code.
type command struct {
	usage string
	run   func(a *app, ctx context.Context, args []string) (int, error)
}

func commands() map[string]command {
	return map[string]command{
		"create":   {"[--bundle DIR] [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] ID", (*app).create},
		"start":    {"ID", (*app).start},
		"run":      {"[--bundle DIR] [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] [--detach] [--keep] ID", (*app).runContainer},
		"exec":     {"[--process FILE] [--tty] [--user UID[:GID]] [--env NAME=VALUE]... [--cwd DIR] [--detach] [--pid-file FILE] [--console-socket SOCKET] ID [COMMAND...]", (*app).exec},
		"state":    {"ID", (*app).state},
		"kill":     {"[--all] ID [SIGNAL]", (*app).kill},
		"delete":   {"[--force] ID", (*app).delete},
		"list":     {"[--format table|json] [--quiet]", (*app).list},
		"ps":       {"[--format table|json] ID", (*app).ps},
		"features": {"", (*app).features},
	}
}

// Exit codes. A command's own code is passed on as it is.
const (
	exitFailed = 1
	exitUsage  = 64
)

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

func run(ctx context.Context, args []string) int {
	a := &app{out: os.Stdout}
	args, done, err := a.globals(args)
	if done {
		return 0
	}
	if err == nil && len(args) == 0 {
		err = usageError{usage()}
	}
	if err != nil {
		return a.fail(err)
	}
	c, ok := commands()[args[0]]
	if !ok {
		return a.fail(usageError{fmt.Sprintf("%q is no command\n%s", args[0], usage())})
	}
	code, err := c.run(a, ctx, args[1:])
	if err != nil {
		return a.fail(err)
	}
	return code
}

// usageError is a command line that is wrong.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usage() string {
	var b strings.Builder
	b.WriteString("usage: karapace-runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...\n")
	for _, name := range [...]string{"create", "start", "run", "exec", "state", "kill", "delete", "list", "ps", "features"} {
		fmt.Fprintf(&b, "  %s %s\n", name, commands()[name].usage)
	}
	return strings.TrimRight(b.String(), "\n")
}

// globals reads what stands before the command; done says that there is nothing more to do.
func (a *app) globals(args []string) (rest []string, done bool, err error) {
	f := flags("karapace-runtime")
	root := f.String("root", "", "")
	f.StringVar(&a.log.file, "log", "", "")
	format := f.String("log-format", "text", "")
	f.String("log-level", "", "")
	f.Bool("debug", false, "")
	f.String("rootless", "auto", "")
	systemd := f.Bool("systemd-cgroup", false, "")
	manager := f.String("cgroup-manager", "cgroupfs", "")
	showVersion := f.Bool("version", false, "")
	f.BoolVar(showVersion, "v", false, "")
	help := f.Bool("help", false, "")
	f.BoolVar(help, "h", false, "")
	if err := f.Parse(args); err != nil {
		return nil, false, usageError{err.Error() + "\n" + usage()}
	}
	a.log.json = *format == "json"
	switch {
	case *help:
		fmt.Fprintln(a.out, usage())
		return nil, true, nil
	case *showVersion:
		fmt.Fprintf(a.out, "karapace-runtime version %s\nspec: %s\n", version, rspec.Version)
		return nil, true, nil
	case *format != "text" && *format != "json":
		return nil, false, usageError{"--log-format is text or json"}
	case *systemd || *manager == "systemd":
		return nil, false, errors.New("control groups through systemd are not supported: tell the engine to use cgroupfs (podman --cgroup-manager=cgroupfs; SystemdCgroup = false for containerd)")
	case *manager != "cgroupfs" && *manager != "disabled":
		return nil, false, usageError{"--cgroup-manager is cgroupfs"}
	}
	if *root == "" {
		if *root, err = defaultRoot(); err != nil {
			return nil, false, err
		}
	}
	if *root, err = filepath.Abs(*root); err != nil {
		return nil, false, err
	}
	a.store = &lifecycle.Store{Root: *root, Warn: a.warn}
	return f.Args(), false, nil
}

// defaultRoot is where containers are known: a directory that goes with the machine's or the user's session.
func defaultRoot() (string, error) {
	if os.Geteuid() == 0 && lifecycle.RealRoot() {
		return "/run/karapace-runtime", nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "karapace-runtime"), nil
	}
	return "", errors.New("XDG_RUNTIME_DIR is not set: say where containers are kept with --root DIR")
}

// flags makes a set of options that prints nothing by itself.
func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

func (a *app) warn(text string) { a.log.write("warning", text) }

// fail tells an error where it was asked for, and on standard error.
func (a *app) fail(err error) int {
	text := err.Error()
	var known *backends.Error
	if errors.As(err, &known) && known.Hint != "" {
		text += "; " + known.Hint
	}
	fmt.Fprintln(os.Stderr, "karapace-runtime:", text)
	if a.log.file != "" {
		a.log.write("error", text)
	}
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		return exitUsage
	case known != nil && known.Kind == backends.NotFound:
		return 127
	case known != nil && known.Kind == backends.NotExecutable:
		return 126
	}
	return exitFailed
}

// logger writes lines as runc does, for engines that read them.
type logger struct {
	file string // empty: standard error
	json bool
}

func (l *logger) write(level, text string) {
	w := os.Stderr
	if l.file != "" {
		f, err := os.OpenFile(l.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, "karapace-runtime: open log:", err)
			return
		}
		defer f.Close()
		w = f
	}
	now := time.Now().UTC().Format(time.RFC3339)
	if l.json {
		line, err := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, text, now})
		if err == nil {
			fmt.Fprintf(w, "%s\n", line)
		}
		return
	}
	if l.file == "" {
		fmt.Fprintf(w, "karapace-runtime: %s: %s\n", level, text)
		return
	}
	fmt.Fprintf(w, "time=%q level=%s msg=%q\n", now, level, text)
}
