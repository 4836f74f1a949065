package backendtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

func (b *box) status() backends.Status {
	b.t.Helper()
	status, err := b.rt.State(context.Background(), &b.c)
	must(b.t, err)
	return status
}

// killedCode is what a supervisor ends with when its container is killed; without one it is killed itself.
func (s *suite) killedCode() int {
	if s.opts.Isolated {
		return 128 + int(unix.SIGKILL)
	}
	return -int(unix.SIGKILL)
}

// gone waits until the container has ended, which it does after its last session.
func (b *box) gone() {
	b.t.Helper()
	eventually(b.t, "end of the container", func() bool { return !b.status().Running })
}

func testSecondSession(t *testing.T, s *suite) {
	b := s.newBox(t)
	before := mountinfo(t)
	if b.status().Running {
		t.Error("it runs before it was started")
	}
	first := b.start("tell", b.c.ID)
	first.want(b.c.ID)
	if got := b.status(); !got.Running || got.Pid <= 0 || got.Backend != s.rt.Name() {
		t.Errorf("state %+v", got)
	}
	if s.opts.Isolated {
		if got := b.output("ps"); !strings.Contains(got, "box tell "+b.c.ID) || !strings.Contains(got, "box ps") {
			t.Errorf("the second session sees\n%s", got)
		}
		b.output("write", "/tmp/shared", "by the second")
		if got := b.output("read", "/tmp/shared"); got != "by the second" {
			t.Errorf("the third session reads %q", got)
		}
	}
	if r := b.run("exit", "7"); r.ShellCode() != 7 || r.err != nil {
		t.Errorf("code %d, error %v", r.ShellCode(), r.err)
	}
	if after := mountinfo(t); after != before {
		t.Errorf("the host's mounts changed:\n%s", after)
	}
	first.stdin.Close()
	if code := first.wait(); code != 0 {
		t.Errorf("first session: code %d", code)
	}
	b.gone()
}

// Whoever wants the container may keep it from being started, at a time when nobody else can start it, but is not asked
// about joining it.
func testStartRefused(t *testing.T, s *suite) {
	b := s.newBox(t)
	refusal, asked := errors.New("not now"), 0
	c := b.with("exit", "0")
	c.Starting = func() error {
		asked++
		return refusal
	}
	if r := b.runContainer(c); !errors.Is(r.err, refusal) || asked != 1 {
		t.Errorf("error %v, asked %d times", r.err, asked)
	}
	if b.status().Running {
		t.Error("it runs")
	}
	first := b.start("tell", b.c.ID)
	first.want(b.c.ID)
	if r := b.runContainer(c); r.err != nil || asked != 1 {
		t.Errorf("beside another session: error %v, asked %d times", r.err, asked)
	}
	first.stdin.Close()
	first.wait()
	b.gone()
}

// A container that is taken away while it is being started, for another one to come in its place, is composed and started anew.
func testReplaced(t *testing.T, s *suite) {
	b := s.newBox(t)
	c, composed := b.with("exit", "0"), 0
	whole := *c.Spec
	c.Compose = func() (*rspec.Spec, error) {
		composed++
		spec := whole
		if composed == 1 {
			must(t, os.Rename(c.State, c.State+".old"))
			must(t, os.Mkdir(c.State, 0o755))
			spec.Mounts = append(slices.Clone(spec.Mounts), rspec.Mount{
				Destination: "/tmp", Source: filepath.Join(c.State, "gone with the old one"), Type: "none", Options: []string{"bind"}})
		}
		return &spec, nil
	}
	if r := b.runContainer(c); r.err != nil || r.ShellCode() != 0 || composed != 2 {
		t.Errorf("code %d, error %v, composed %d times", r.ShellCode(), r.err, composed)
	}
	b.gone()
}

// The container ends with its last session, and takes along what the sessions have left in it.
func testEndings(t *testing.T, s *suite) {
	b := s.newBox(t)
	first := b.start("tell", "first")
	first.want("first")
	second := b.start("tell", "second")
	second.want("second")
	pid := b.status().Pid
	b.output("leave", "tell", b.c.ID)
	first.stdin.Close()
	first.wait()
	if s.opts.Outlives {
		if got := b.output("ps"); !strings.Contains(got, "box tell second") {
			t.Errorf("after the first session's end: %s", got)
		}
		if now := b.status().Pid; now != pid {
			t.Errorf("it was started again: %d, before %d", now, pid)
		}
	}
	second.stdin.Close()
	second.wait()
	eventually(t, "end of what was left", func() bool { return len(processes(b.c.ID)) == 0 && !b.status().Running })
}

func testParallel(t *testing.T, s *suite) {
	n := 20
	t.Run("one container", func(t *testing.T) {
		b := s.newBox(t)
		var wg sync.WaitGroup
		results := make([]result, n)
		for i := range n {
			wg.Go(func() { results[i] = b.run("exit", fmt.Sprint(i)) })
		}
		wg.Wait()
		for i, r := range results {
			if r.err != nil || r.ShellCode() != i {
				t.Errorf("session %d: code %d, error %v", i, r.ShellCode(), r.err)
			}
		}
	})
	t.Run("as many containers", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range n {
			b := s.newBox(t)
			wg.Go(func() {
				if r := b.run("exit", fmt.Sprint(i)); r.err != nil || r.ShellCode() != i {
					t.Errorf("container %d: code %d, error %v", i, r.ShellCode(), r.err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("as many supervisors", func(t *testing.T) {
		b := s.newBox(t)
		var sessions []*session
		for i := range n {
			sessions = append(sessions, b.start("exit", fmt.Sprint(i)))
		}
		for i, session := range sessions {
			if code := session.wait(); code != i {
				t.Errorf("session %d: code %d\n%s", i, code, session.stderr.String())
			}
		}
	})
}

func testStop(t *testing.T, s *suite) {
	b := s.newBox(t)
	ctx := context.Background()
	if err := backends.Stop(ctx, b.c.State, time.Second); !errors.Is(err, backends.ErrNotRunning) {
		t.Errorf("stop of what does not run: %v", err)
	}
	polite := b.start("signals")
	polite.want("ready")
	start := time.Now()
	if err := backends.Stop(ctx, b.c.State, patience); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("a command that ends at TERM took %v", took)
	}
	if code := polite.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	if b.status().Running {
		t.Error("it still runs")
	}
	stubborn := b.start("stubborn")
	stubborn.want("ready")
	if err := backends.Stop(ctx, b.c.State, 50*time.Millisecond); err != nil {
		t.Errorf("stop: %v", err)
	}
	if b.status().Running {
		t.Error("it still runs")
	}
	if code := stubborn.wait(); code != s.killedCode() {
		t.Errorf("code %d", code)
	}
}

func testKillAndDelete(t *testing.T, s *suite) {
	b := s.newBox(t)
	ctx := context.Background()
	if err := b.rt.Kill(ctx, &b.c, unix.SIGTERM); !errors.Is(err, backends.ErrNotRunning) {
		t.Errorf("kill of what does not run: %v", err)
	}
	session := b.start("signals")
	session.want("ready")
	var e *backends.Error
	if err := b.rt.Delete(ctx, &b.c); !errors.As(err, &e) || e.Kind != backends.Busy {
		t.Errorf("delete of what runs: %v", err)
	}
	must(t, b.rt.Kill(ctx, &b.c, unix.SIGUSR1))
	session.want("user defined signal 1")
	must(t, b.rt.Kill(ctx, &b.c, unix.SIGKILL))
	if code := session.wait(); code != s.killedCode() {
		t.Errorf("code %d", code)
	}
	must(t, b.rt.Delete(ctx, &b.c))
	if entries, err := os.ReadDir(b.c.State); err != nil || len(entries) != 0 {
		t.Errorf("state has %v, %v", entries, err)
	}
	must(t, b.rt.Delete(ctx, &b.c))
}

// A supervisor's death takes its command along, and the container when it was the last.
func testSupervisorKilled(t *testing.T, s *suite) {
	b := s.newBox(t)
	before := mountinfo(t)
	for range 5 {
		first := b.start("tell", b.c.ID)
		first.want(b.c.ID)
		second := b.start("tell", b.c.ID+"-second")
		second.want(b.c.ID + "-second")
		second.signal(unix.SIGKILL)
		if code := second.wait(); code != -int(unix.SIGKILL) {
			t.Fatalf("code %d", code)
		}
		eventually(t, "end of its command", func() bool { return len(processes(b.c.ID+"-second")) == 0 })
		if got := b.output("ps"); !strings.Contains(got, b.c.ID) {
			t.Fatalf("the other session is gone:\n%s", got)
		}
		first.signal(unix.SIGKILL)
		first.wait()
		eventually(t, "end of everything", func() bool { return len(processes(b.c.ID)) == 0 && !b.status().Running })
	}
	// At any moment of a start, too.
	for i := range 20 {
		session := b.start("tell", b.c.ID)
		time.Sleep(time.Duration(i) * time.Millisecond)
		session.signal(unix.SIGKILL)
		session.wait()
	}
	eventually(t, "end of everything", func() bool { return len(processes(b.c.ID)) == 0 && !b.status().Running })
	if after := mountinfo(t); after != before {
		t.Errorf("the host's mounts changed:\n%s", after)
	}
	b.output("exit", "0")
}

func testFirstKilled(t *testing.T, s *suite) {
	b := s.newBox(t)
	first := b.start("tell", b.c.ID)
	first.want(b.c.ID)
	second := b.start("tell", b.c.ID)
	second.want(b.c.ID)
	must(t, backends.Signal(b.c.State, unix.SIGKILL))
	for _, session := range []*session{first, second} {
		if code := session.wait(); code != 128+int(unix.SIGKILL) {
			t.Errorf("code %d", code)
		}
	}
	eventually(t, "end of everything", func() bool { return len(processes(b.c.ID)) == 0 && !b.status().Running })
	b.output("exit", "0")
}

// A builder works inside the user namespace already.
func testNested(t *testing.T, s *suite) {
	b := s.newBox(t)
	if b.c.Mapping == nil {
		t.Skip("as root there is no user namespace to be inside of")
	}
	c := *b.with("self")
	c.Mapping = nil
	for _, root := range []backends.Rootfs{c.Rootfs, {Dir: s.lower}} {
		c.Rootfs = root
		j := &job{Runtime: s.rt.Name(), Container: c}
		got := b.outside(j)
		if fact(got, "uid") != "0" || fact(got, "host") != "box" {
			t.Errorf("inside a user namespace:\n%s", got)
		}
	}
	eventually(t, "end of the container", func() bool { return len(processes(b.c.ID)) == 0 })
	must(t, removeAll(b.c.State)) // what is in it belongs to root of the user namespace
}

// outside runs a job's supervisor as root of the user namespace.
func (b *box) outside(j *job) string {
	b.t.Helper()
	out, err := os.Create(filepath.Join(b.dir, "out"))
	must(b.t, err)
	defer out.Close()
	exe, err := os.Executable()
	must(b.t, err)
	code, err := inNamespace(b.c.Mapping, out, exe, superviseArg, j.write(b.t))
	data, _ := os.ReadFile(out.Name())
	if err != nil || code != 0 {
		b.t.Fatalf("code %d, error %v\n%s", code, err, data)
	}
	return string(data)
}
