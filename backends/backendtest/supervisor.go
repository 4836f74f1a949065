package backendtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/userns"
)

const superviseArg = "backendtest-supervise"

// job is what a supervisor that is a process of its own has to run.
type job struct {
	Runtime   string
	Container backends.Container
	Mapped    bool
}

// supervise runs a job and exits as the command did.
func supervise(f Factory, file string) int {
	var j job
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err == nil && j.Mapped {
		j.Container.Mapping, err = userns.Lookup()
	}
	var rt backends.Runtime
	if err == nil {
		rt, err = f(j.Runtime)
	}
	var exit backends.Exit
	if err == nil {
		exit, err = rt.Run(context.Background(), &j.Container, backends.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		return 125
	}
	return exit.ShellCode()
}

// write gives a job to a process that is to be started.
func (j *job) write(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(j.Container.State), "job")
	must(t, err)
	defer f.Close()
	c := j.Container
	c.Mapping = nil
	data, err := json.Marshal(job{Runtime: j.Runtime, Container: c, Mapped: j.Mapped})
	must(t, err)
	_, err = f.Write(data)
	must(t, err)
	must(t, f.Chmod(0o644))
	return f.Name()
}

// session is a session with a supervisor of its own.
type session struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr strings.Builder
}

// start starts box with the arguments in a session whose supervisor is another process.
func (b *box) start(args ...string) *session { return b.startContainer(b.with(args...), nil) }

func (b *box) startContainer(c *backends.Container, prepare func(*exec.Cmd)) *session {
	b.t.Helper()
	j := &job{Runtime: b.rt.Name(), Container: *c, Mapped: c.Mapping != nil}
	s := &session{t: b.t, cmd: exec.Command("/proc/self/exe", superviseArg, j.write(b.t))}
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prepare != nil {
		prepare(s.cmd)
	}
	if s.cmd.Stdin == nil {
		var err error
		s.stdin, err = s.cmd.StdinPipe()
		must(b.t, err)
		out, err := s.cmd.StdoutPipe()
		must(b.t, err)
		s.stdout = bufio.NewReader(out)
	}
	must(b.t, s.cmd.Start())
	b.t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	return s
}

// line reads one line of the command's output.
func (s *session) line() string {
	s.t.Helper()
	type answer struct {
		text string
		err  error
	}
	ch := make(chan answer, 1)
	go func() {
		text, err := s.stdout.ReadString('\n')
		ch <- answer{text, err}
	}()
	select {
	case a := <-ch:
		if a.err != nil {
			s.t.Fatalf("read output: %v, after %q\n%s", a.err, a.text, s.stderr.String())
		}
		return strings.TrimSuffix(a.text, "\n")
	case <-time.After(patience):
		s.t.Fatalf("no output within %v\n%s", patience, s.stderr.String())
	}
	return ""
}

func (s *session) want(line string) {
	s.t.Helper()
	if got := s.line(); got != line {
		s.t.Fatalf("output %q, want %q", got, line)
	}
}

// wait returns the supervisor's exit code, -N when it died of signal N.
func (s *session) wait() int {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			s.t.Fatalf("wait for the supervisor: %v", err)
		}
		ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return -int(ws.Signal())
		}
		return ws.ExitStatus()
	case <-time.After(patience):
		s.t.Fatalf("the supervisor does not end\n%s", s.stderr.String())
	}
	return 0
}

func (s *session) signal(sig unix.Signal) {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(sig))
}
