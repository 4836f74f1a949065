package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// Flags stand anywhere before "--"; what follows it is never touched.
func TestArrange(t *testing.T) {
	for line, want := range map[string]struct{ args, after string }{
		"list":                              {"karapace list", ""},
		"list --json":                       {"karapace --json list", ""},
		"--json list":                       {"karapace --json list", ""},
		"exec q --store /s -u 0 -- ls -l":   {"karapace --store=/s exec --user=0 q", "ls -l"},
		"exec -u 0 q -- sh -c --json":       {"karapace exec --user=0 q", "sh -c --json"},
		"build a.toml --name=x --offline":   {"karapace build --name=x --offline a.toml", ""},
		"run t -- -- x":                     {"karapace run t", "-- x"},
		"ls":                                {"karapace list", ""},
		"exec q --help":                     {"karapace exec --help q", ""},
		"help":                              {"karapace --help", ""},
		"help exec":                         {"karapace exec --help", ""},
		"help commit -m":                    {"karapace commit --help", ""}, // which is not the message
		"help commit -m x":                  {"karapace commit --message=x --help", ""},
		"help --store":                      {"karapace --help", ""},
		"help help":                         {"karapace --help", ""},
		"help exec q -- ls":                 {"karapace exec --help q", "ls"},
		"--version":                         {"karapace --version", ""},
		"quick -p git,curl -p vim -- git x": {"karapace quick --packages=git,curl --packages=vim", "git x"},
	} {
		p := &program{}
		l, err := p.arrange(p.app(), strings.Fields("karapace "+line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got := strings.Join(l.args(), " "); got != want.args {
			t.Errorf("%s: args %q, want %q", line, got, want.args)
		}
		if got := strings.Join(l.after, " "); got != want.after {
			t.Errorf("%s: after %q, want %q", line, got, want.after)
		}
		if want := strings.Contains(want.args, "--help"); l.help != want {
			t.Errorf("%s: help is asked for: %t, want %t", line, l.help, want)
		}
	}
	for line, want := range map[string]string{
		"frob": "unknown command", "list --frob": "unknown flag --frob for karapace list", "--frob": "unknown flag --frob",
		"rm q": "karapace destroy", "exec -it q sh": "-t gives a terminal", "list -t": "see karapace list --help",
		"build --name": "needs a value", "help frob": "unknown command", "help list --frob": "unknown flag --frob", "enter --name x": "unknown flag --name for karapace enter",
	} {
		p := &program{}
		if _, err := p.arrange(p.app(), strings.Fields("karapace "+line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestCommandTable(t *testing.T) {
	p := &program{}
	for _, e := range commandTable() {
		c := e.make(p)
		if c.Name != e.name {
			t.Errorf("%s is listed as %s", c.Name, e.name)
		}
		for _, name := range c.Names() {
			if got := p.command(name); got == nil || got.Name != c.Name {
				t.Errorf("%s of %s is not found", name, c.Name)
			}
		}
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{{"build", "buidl"}: 2, {"list", "list"}: 0, {"", "abc"}: 3, {"exec", "exce"}: 2, {"stop", "step"}: 1} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("%v: %d, want %d", pair, got, want)
		}
	}
}

// Each kind of failure has its exit code, whatever it is wrapped in.
func TestExitCode(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {boom, 1}, {commandExit(42), 42},
		{failure.New(failure.Manifest, boom, ""), 2}, {failure.New(failure.Store, boom, ""), 3}, {failure.New(failure.Lock, boom, ""), 4},
		{failure.New(failure.Backend, boom, ""), 5}, {failure.New(failure.Remote, boom, ""), 6}, {usage(boom), 64},
		{fmt.Errorf("more: %w", failure.New(failure.Lock, boom, "")), 4},
		{sessionError{boom}, 125}, {sessionError{failure.New(failure.Lock, boom, "")}, 125}, {sessionError{usage(boom)}, 64},
		{sessionError{failure.New(failure.Backend, &backends.Error{Kind: backends.NotFound, Err: boom}, "")}, 127},
		{sessionError{&backends.Error{Kind: backends.NotExecutable, Err: boom}}, 126},
		{sessionError{&backends.Error{Kind: backends.Busy, Err: boom}}, 125},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// What comes from images, servers and file names cannot act on the terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\ttext": "plain\n\ttext", "\x1b]0;title\a": "?]0;title?", "a\u202eb": "a?b", "\u009b31m": "?31m", "ü→": "ü→", "bad\xffutf8": "bad?utf8",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A failure keeps the kind it was given first.
func TestFailureKind(t *testing.T) {
	err := failure.New(failure.Store, failure.New(failure.Remote, errors.New("x"), "do y"), "other")
	kind, hint := failure.Of(err)
	if want := []string{"remote", "do y"}; !reflect.DeepEqual([]string{string(kind), hint}, want) {
		t.Errorf("got %s, %s", kind, hint)
	}
}
