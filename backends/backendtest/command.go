package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

func testExitCodes(t *testing.T, s *suite) {
	b := s.newBox(t)
	codes := []int{0, 1, 2, 42, 64, 125, 126, 127, 128, 137, 143, 254, 255}
	if s.opts.Fast {
		codes = codes[:0]
		for code := range 256 {
			codes = append(codes, code)
		}
	}
	for _, code := range codes {
		if r := b.run("exit", strconv.Itoa(code)); r.err != nil || r.ShellCode() != code {
			t.Errorf("exit %d: code %d, error %v", code, r.ShellCode(), r.err)
		}
	}
}

func testDeathBySignal(t *testing.T, s *suite) {
	b := s.newBox(t)
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGSEGV, unix.SIGUSR1, unix.SIGABRT} {
		if r := b.run("die", strconv.Itoa(int(sig))); r.err != nil || r.ShellCode() != 128+int(sig) {
			t.Errorf("signal %d: code %d, error %v", sig, r.ShellCode(), r.err)
		}
	}
}

func testCannotExecute(t *testing.T, s *suite) {
	b := s.newBox(t)
	keeper := b.start("tell", "keeping")
	for _, when := range []string{"first session", "second session"} {
		for _, c := range []struct {
			command string
			kind    backends.Kind
		}{
			{"nonexistent", backends.NotFound},
			{"/bin/nonexistent", backends.NotFound},
			{"/etc/plain/below", backends.NotFound},
			{"/etc/plain", backends.NotExecutable},
			{"/etc", backends.NotExecutable},
			{"/etc/garbage", backends.NotExecutable},
		} {
			container := b.with()
			container.Spec.Process.Args = []string{c.command}
			r := b.runContainer(container)
			var e *backends.Error
			if !errors.As(r.err, &e) || e.Kind != c.kind || !strings.Contains(r.err.Error(), c.command) {
				t.Errorf("%s: %s: error %v (%+v), want kind %d", when, c.command, r.err, e, c.kind)
			}
			if r.stdout != "" || r.stderr != "" {
				t.Errorf("%s: %s: output %q %q", when, c.command, r.stdout, r.stderr)
			}
		}
		if when == "first session" {
			keeper.want("keeping")
		}
	}
	keeper.stdin.Close()
	if code := keeper.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

func testStreams(t *testing.T, s *suite) {
	b := s.newBox(t)
	if r := b.run("both"); r.stdout != "to stdout" || r.stderr != "to stderr" {
		t.Errorf("output %q, errors %q, error %v", r.stdout, r.stderr, r.err)
	}
	if got := b.output("cat"); got != "" {
		t.Errorf("without a standard input it reads %q", got)
	}
	session := b.start("cat")
	io.WriteString(session.stdin, "a line\n")
	session.want("a line") // before the end of the input
	session.stdin.Close()
	if code := session.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// A stream must pass without being collected anywhere.
func testGibibyte(t *testing.T, s *suite) {
	b := s.newBox(t)
	session := b.start("cat")
	const size = 1 << 30
	go func() {
		defer session.stdin.Close()
		block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for range size / len(block) {
			if _, err := session.stdin.Write(block); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, session.stdout)
	if err != nil || n != size {
		t.Errorf("%d bytes, error %v", n, err)
	}
	if code := session.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	if rss := session.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; rss > 64<<10 {
		t.Errorf("the supervisor and what it waited for took %d KiB", rss)
	}
}

func testEnvironment(t *testing.T, s *suite) {
	b := s.newBox(t)
	t.Setenv("KARAPACE_SECRET_TOKEN", "of the host")
	c := b.with("env")
	c.Spec.Process.Env = append(c.Spec.Process.Env, "EMPTY=", "A=b c\td", "TWO=line\nline")
	got := strings.Split(strings.TrimSpace(b.outputOf(c)), "\n")
	for _, want := range []string{"EMPTY=", "A=b c\td", "TWO=line", "line", "PATH=/usr/bin:/bin"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, v := range got {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"PATH", "EMPTY", "A", "TWO", "line", "HOME"}, name) {
			t.Errorf("%q has come from the host", v)
		}
	}
}

func testWorkingDirectory(t *testing.T, s *suite) {
	b := s.newBox(t)
	c := b.with("self")
	c.Spec.Process.Cwd = "/home"
	if got := fact(b.outputOf(c), "cwd"); got != "/home" {
		t.Errorf("working directory %q", got)
	}
	// Relative commands are relative to it.
	c = b.with()
	c.Spec.Process.Cwd, c.Spec.Process.Args = "/bin", []string{"./box", "exit", "3"}
	if r := b.runContainer(c); r.ShellCode() != 3 {
		t.Errorf("relative command: code %d, error %v", r.ShellCode(), r.err)
	}
	for _, cwd := range []string{"/nonexistent", "/etc/plain", "/proc/self/fd/7", "/proc/self/fd/3"} {
		c := b.with("self")
		c.Spec.Process.Cwd = cwd
		if r := b.runContainer(c); r.err == nil || !strings.Contains(r.err.Error(), cwd) {
			t.Errorf("%s: code %d, error %v", cwd, r.ShellCode(), r.err)
		}
	}
}

func testSignals(t *testing.T, s *suite) {
	b := s.newBox(t)
	for _, when := range []string{"first session", "second session"} {
		session := b.start("signals")
		session.want("ready")
		for _, c := range []struct {
			sig  unix.Signal
			name string
		}{
			{unix.SIGUSR1, "user defined signal 1"}, {unix.SIGUSR2, "user defined signal 2"}, {unix.SIGINT, "interrupt"},
			{unix.SIGQUIT, "quit"}, {unix.SIGHUP, "hangup"}, {unix.SIGTERM, "terminated"},
		} {
			if signal.Ignored(c.sig) { // as under nohup(1), and so by what is started here
				continue
			}
			session.signal(c.sig)
			if got := session.line(); got != c.name {
				t.Errorf("%s: signal %d arrives as %q", when, c.sig, got)
			}
		}
		if code := session.wait(); code != 0 {
			t.Errorf("%s: code %d", when, code)
		}
		if when == "first session" {
			keeper := b.start("tell", "keeping")
			keeper.want("keeping")
		}
	}
}

func testCancel(t *testing.T, s *suite) {
	b := s.newBox(t)
	ctx, cancel := context.WithCancel(context.Background())
	inR, inW, err := os.Pipe()
	must(t, err)
	defer inR.Close()
	defer inW.Close()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	done := make(chan error, 1)
	go func() {
		_, err := b.rt.Run(ctx, b.with("tell", "started"), backends.Stdio{In: inR, Out: w})
		w.Close()
		done <- err
	}()
	line := make([]byte, 16)
	if n, err := r.Read(line); err != nil || string(line[:n]) != "started\n" {
		t.Errorf("output %q, error %v", line[:n], err)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("the command goes on")
	}
	if _, err := b.rt.Run(ctx, b.with("exit", "0"), backends.Stdio{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: error %v", err)
	}
}

// fact is a line's value in what "box self" prints.
func fact(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimPrefix(rest, ":"))
		}
	}
	return fmt.Sprintf("no %s in %q", name, text)
}

// Who insists on a profile does not join a container that was made with another; others join it as it is.
func testOtherProfile(t *testing.T, s *suite) {
	b := s.newBox(t)
	with := func(profile string, insist bool, args ...string) *backends.Container {
		c := b.with(args...)
		c.Profile, c.SameProfile = profile, insist
		return c
	}
	keeper := b.startContainer(with("desktop", false, "tell", "running"), nil)
	keeper.want("running")
	for _, c := range []*backends.Container{with("desktop", true, "exit", "3"), with("isolated", false, "exit", "3")} {
		if r := b.runContainer(c); r.err != nil || r.ShellCode() != 3 {
			t.Errorf("%s: code %d, error %v", c.Profile, r.ShellCode(), r.err)
		}
	}
	r := b.runContainer(with("isolated", true, "exit", "3"))
	var e *backends.Error
	if !errors.As(r.err, &e) || e.Kind != backends.Busy || !strings.Contains(r.err.Error(), "the profile desktop, and not isolated") || !strings.Contains(e.Hint, "stop") {
		t.Errorf("error %v", r.err)
	}
}

func testOtherBackend(t *testing.T, s *suite) {
	b := s.newBox(t)
	keeper := b.start("tell", "running")
	keeper.want("running")
	lock := filepath.Join(b.c.State, "lock")
	note, err := os.ReadFile(lock)
	must(t, err)
	must(t, os.WriteFile(lock, bytes.Replace(note, []byte(s.rt.Name()), []byte("other"), 1), 0o600))
	r := b.run("exit", "0")
	var e *backends.Error
	if !errors.As(r.err, &e) || e.Kind != backends.Busy || !strings.Contains(r.err.Error(), "other") || !strings.Contains(e.Hint, "stop") {
		t.Errorf("error %v", r.err)
	}
}
