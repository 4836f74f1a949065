package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/storage"
)

// soon is how long anything that does not wait may take on a busy machine.
const soon = 30 * time.Second

// running is a command beside others, and what it has said so far.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	mu  sync.Mutex
	err bytes.Buffer
	out bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err.Write(p)
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err.String()
}

func (b *stateBench) start(args ...string) *running {
	b.t.Helper()
	r := &running{t: b.t, cmd: b.command(args...)}
	r.cmd.Stderr, r.cmd.Stdout = r, &r.out
	must(b.t, r.cmd.Start())
	b.t.Cleanup(func() { r.cmd.Process.Kill() })
	return r
}

// says waits until standard error matches, and gives what the first group of the pattern is.
func (r *running) says(pattern string) string {
	r.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if m := re.FindStringSubmatch(r.said()); m != nil {
			return m[len(m)-1]
		}
	}
	r.t.Fatalf("%s does not say %q but\n%s", strings.Join(r.cmd.Args, " "), pattern, r.said())
	return ""
}

// ends waits for the end and checks the exit code; -1 is that of a signal.
func (r *running) ends(code int) {
	r.t.Helper()
	timer := time.AfterFunc(soon, func() { r.cmd.Process.Kill() })
	defer timer.Stop()
	r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("%s: exit code %d, want %d\n%s", strings.Join(r.cmd.Args, " "), got, code, r.said())
	}
}

func (b *stateBench) lock(path string) *storage.Lock {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	l, err := storage.WaitLock(ctx, path, nil)
	must(b.t, err)
	b.t.Cleanup(l.Unlock) // before the store is removed, which waits for it
	return l
}

func (b *stateBench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir, "store"}, elem...)...)
}

// layerLock is what the build of the one layer that was built holds.
func (b *stateBench) layerLock() string {
	b.t.Helper()
	all, err := filepath.Glob(b.path("built", "*.lock"))
	if err != nil || len(all) != 1 {
		b.t.Fatal(all, err)
	}
	return all[0]
}

// readers runs everything that only looks.
func (b *stateBench) readers() {
	b.t.Helper()
	for _, args := range [][]string{{"list"}, {"inspect", "t"}, {"exec", "t", "--", "true"}, {"diff", "t"}, {"snapshots", "t"}, {"images"}} {
		r := b.start(args...)
		r.ends(0)
		if said := r.said(); strings.Contains(said, "wait") {
			b.t.Errorf("karapace %s says %s", strings.Join(args, " "), said)
		}
	}
}

func newWaitingBench(t *testing.T) *stateBench {
	b := newStateBench(t)
	for name, value := range map[string]string{"u.toml": "u", "v.toml": "v"} {
		text := "manifest_version = 1\n[base]\nimage = \"./base.tar\"\n[env]\nNAME = \"" + value + "\"\n"
		must(t, os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644))
	}
	b.karapace("build", "t.toml", "--name", "t")
	return b
}

// While a build is held in its middle, whoever only looks goes on, and whoever waits says for whom: the process, how it was
// called, and whether it is stopped. With --quiet and --json it waits in silence.
func TestWaitForBuild(t *testing.T) {
	b := newWaitingBench(t)
	held := b.lock(b.layerLock())
	defer held.Unlock()
	build := b.start("build", "u.toml", "--name", "u")
	if pid := build.says(`^wait for .* \(pid (\d+), begun [0-9hms]+ ago\)$`); pid != strconv.Itoa(os.Getpid()) {
		t.Errorf("the build waits for %s, not for this process", pid)
	}
	b.readers()

	gc := b.start("gc")
	pid, err := strconv.Atoi(gc.says(`^wait for karapace build u\.toml --name u \(pid (\d+), begun [0-9hms]+ ago\)$`))
	must(t, err)
	b.readers()

	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	gc.says(`^wait for karapace build u\.toml --name u \(pid \d+, begun [0-9hms]+ ago, stopped\)$`)
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	for _, silent := range []string{"--quiet", "--json"} {
		r := b.start("gc", silent)
		time.Sleep(2 * storage.Patience)
		must(t, r.cmd.Process.Signal(syscall.SIGINT))
		r.ends(130)
		if strings.Contains(r.said(), "wait") || r.out.Len() > 0 {
			t.Errorf("gc %s says %s%s", silent, r.said(), r.out.String())
		}
	}
	if n := strings.Count(gc.said(), "wait for"); n > 3 { // once, once stopped, and perhaps once more when it went on
		t.Errorf("gc tells it %d times:\n%s", n, gc.said())
	}

	held.Unlock()
	build.ends(0)
	gc.ends(0)
	b.karapace("exec", "u", "--", "true")
}

// Two builds of one lock at the same time are one: the second waits and finds it done.
func TestTwoBuilds(t *testing.T) {
	b := newWaitingBench(t)
	name := filepath.Base(b.layerLock())
	b.karapace("destroy", "--all")
	must(t, os.WriteFile(filepath.Join(b.dir, "empty.toml"), []byte("manifest_version = 1\n[base]\nimage = \"./none.tar\"\n"), 0o644))
	if b.command("build", "empty.toml").Run() == nil { // but the store is there now
		t.Fatal("a base that is not there was built")
	}
	held := b.lock(b.path("built", name))
	first := b.start("build", "u.toml", "--name", "u")
	first.says("^wait for ")
	second := b.start("build", "u.toml", "--name", "u")
	second.says("^wait for ")
	held.Unlock()
	first.ends(0)
	second.ends(0)
	if n := strings.Count(first.said()+second.said(), "make base layer"); n != 1 {
		t.Errorf("the layer was made %d times:\n%s\n%s", n, first.said(), second.said())
	}
	if first.out.String() != second.out.String() || strings.Count(b.karapace("list"), "\n") != 2 {
		t.Errorf("%s and %s were built:\n%s", first.out.String(), second.out.String(), b.karapace("list"))
	}
}

// A build that is killed holds nothing any more; and the file that it had locked may go without anybody waiting for ever.
func TestHolderKilled(t *testing.T) {
	b := newWaitingBench(t)
	held := b.lock(b.layerLock())
	defer held.Unlock()
	build := b.start("build", "u.toml", "--name", "u")
	build.says("^wait for ")
	gc := b.start("gc")
	gc.says("^wait for karapace build")
	must(t, build.cmd.Process.Kill())
	build.ends(-1)
	gc.ends(0)

	build = b.start("build", "v.toml", "--name", "v")
	build.says("^wait for ")
	must(t, os.Remove(b.layerLock()))
	build.ends(0)
	b.karapace("exec", "v", "--", "true")
}

// What removes layers keeps nobody waiting but builds, and nothing that somebody may take for litter protects them from it.
func TestWaitForGC(t *testing.T) {
	b := newWaitingBench(t)
	if litter, _ := filepath.Glob(b.path("*lock*")); len(litter) > 0 {
		t.Errorf("the store can be unlocked by removing %v", litter)
	}
	held := b.lock(b.path("envs") + "/.")
	b.readers()
	build := b.start("build", "u.toml", "--name", "u")
	build.says(`^wait for .*\(pid ` + strconv.Itoa(os.Getpid()))
	held.Unlock()
	build.ends(0)
}

// Who would enter while another session is starting the environment says for whom it waits, and goes on when that one is gone.
func TestWaitForStart(t *testing.T) {
	b := newWaitingBench(t)
	b.karapace("exec", "t", "--", "true")
	b.karapace("stop", "t")
	id, err := os.Readlink(b.path("names", "t"))
	must(t, err)
	lock := b.lock(b.path("envs", id, "state", "lock"))
	sessions := b.lock(b.path("envs", id, "state", "sessions"))
	enter := b.start("exec", "t", "--", "echo", "in")
	enter.says(`^wait for .*\(pid ` + strconv.Itoa(os.Getpid()))
	quiet := b.start("--quiet", "exec", "t", "--", "true")
	time.Sleep(2 * storage.Patience)
	lock.Unlock()
	sessions.Unlock()
	enter.ends(0)
	quiet.ends(0)
	if enter.out.String() != "in\n" || quiet.said() != "" {
		t.Errorf("it printed %q, and quietly %q", enter.out.String(), quiet.said())
	}
}

// An environment that is ending by itself at that very moment is stopped as any other.
func TestStopWhileEnding(t *testing.T) {
	b := newWaitingBench(t)
	for range 15 {
		b.session()()
		b.karapace("stop", "t")
	}
}

// Who comes while an environment is ending, whose first process has not noticed yet, gets one that is made for him: with his home.
func TestEndingIsNotJoined(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the first process is another user's, and only root can stop it")
	}
	b := newWaitingBench(t)
	end := b.session()
	id, err := os.Readlink(b.path("names", "t"))
	must(t, err)
	first, err := backends.Running(b.path("envs", id, "state"))
	must(t, err)
	must(t, syscall.Kill(first.Pid, syscall.SIGSTOP))
	end()
	home := t.TempDir()
	enter := &running{t: t, cmd: b.command("exec", "t", "--", "pwd")}
	enter.cmd.Stderr, enter.cmd.Stdout = enter, &enter.out
	enter.cmd.Env, enter.cmd.Dir = append(enter.cmd.Env, "HOME="+home), home
	must(t, enter.cmd.Start())
	time.Sleep(2 * storage.Patience)
	must(t, syscall.Kill(first.Pid, syscall.SIGCONT))
	enter.ends(0)
	if got := enter.out.String(); got != home+"\n" {
		t.Errorf("it is in %q, not in %s", got, home)
	}
}

// A session keeps nobody from anything but destroying and changing what it is in; who would enter what is being changed waits
// and says for whom.
func TestSessionsBlockNothing(t *testing.T) {
	b := newWaitingBench(t)
	b.karapace("build", "u.toml", "--name", "u")
	end := b.session()
	b.readers()
	for _, args := range [][]string{{"build", "v.toml", "--name", "v"}, {"gc"}, {"run", "t", "--", "true"}, {"rename", "u", "w"}, {"commit", "w"}, {"destroy", "w"}} {
		r := b.start(args...)
		r.ends(map[bool]int{true: 1, false: 0}[args[0] == "commit"]) // there is nothing to commit
		if strings.Contains(r.said(), "wait") {
			t.Errorf("karapace %s says %s", strings.Join(args, " "), r.said())
		}
	}
	b.start("destroy", "t").ends(1)
	end()
	b.karapace("stop", "t")

	ids, err := filepath.Glob(b.path("names", "t"))
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	id, err := os.Readlink(ids[0])
	must(t, err)
	held := b.lock(b.path("envs", id) + "/.")
	enter := b.start("exec", "t", "--", "echo", "in")
	enter.says(`^wait for .*\(pid ` + strconv.Itoa(os.Getpid()))
	held.Unlock()
	enter.ends(0)
	if enter.out.String() != "in\n" {
		t.Errorf("it printed %q", enter.out.String())
	}
	if _, err := os.Stat(b.path("lock")); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a lock file of old")
	}
}
