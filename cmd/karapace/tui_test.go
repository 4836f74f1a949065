package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/karapace/karapace/cmd/internal/testground"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// screen is a terminal of tmux, with a server of its own.
type screen struct {
	t      *testing.T
	socket string
}

// newScreen runs a shell command on a terminal; a shell stays when it has ended.
func newScreen(t *testing.T, dir string, env []string, width, height int, command string) *screen {
	s := &screen{t, filepath.Join(t.TempDir(), "tmux")}
	start := exec.Command("tmux", "-S", s.socket, "-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height),
		command+"; echo left with $?; stty -a; exec sleep 600")
	start.Dir, start.Env = dir, env
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s; hack/setup tests installs it", err, out)
	}
	t.Cleanup(func() { exec.Command("tmux", "-S", s.socket, "kill-server").Run() })
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// keys types, keys by their names in tmux.
func (s *screen) keys(keys ...string) { s.tmux(append([]string{"send-keys", "-t", "t"}, keys...)...) }

// shows waits until all texts are on the screen, and gives it.
func (s *screen) shows(texts ...string) string {
	s.t.Helper()
	var seen string
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		seen = s.tmux("capture-pane", "-p", "-t", "t")
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(seen, text)
		}
		if !missing {
			return seen
		}
	}
	s.t.Fatalf("%q is not on the screen:\n%s", texts, seen)
	return ""
}

// tuiHome is a home with a manifest, and the environment variables for it.
func tuiHome(t *testing.T) (dir, store string, env []string) {
	dir = t.TempDir()
	store = filepath.Join(dir, "store")
	t.Cleanup(func() { destroyStore(store) })
	if err := testground.WriteTiny(filepath.Join(dir, "tiny.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "karapace.toml"), []byte("manifest_version = 1\n[base]\nimage = \"./tiny.tar\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NO_COLOR=") && !strings.HasPrefix(kv, "TMUX") {
			env = append(env, kv)
		}
	}
	return dir, store, append(env, "HOME="+dir, "KARAPACE_STORE="+store, "PATH="+binaries+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
}

// An environment is built, seen, changed elsewhere and destroyed on a real terminal, which is as before in the end.
func TestTUI(t *testing.T) {
	dir, _, env := tuiHome(t)
	s := newScreen(t, dir, env, 90, 14, "karapace tui")
	s.shows("no environments yet")
	s.keys("b")
	s.shows("build manifest: karapace.toml")
	s.keys("Enter")
	s.shows("name (may be empty)")
	s.keys("work", "Enter")
	s.shows(" log ", "make image", "built work")
	s.keys("Escape")
	s.shows("> work", "1 environment")
	s.keys("Enter")
	s.shows("base image", "./tiny.tar", "e enter")
	s.keys("Escape")
	s.shows("> work")

	karapace := exec.Command(filepath.Join(binaries, "karapace"), "freeze", "work")
	karapace.Dir, karapace.Env = dir, env
	if out, err := karapace.CombinedOutput(); err != nil {
		t.Fatalf("freeze: %v: %s", err, out)
	}
	s.shows("frozen")

	s.tmux("resize-window", "-t", "t", "-x", "40", "-y", "10")
	if seen := s.shows("> work", "? help · q quit · enter details"); strings.Contains(seen, "BASE") {
		t.Errorf("on 40 columns:\n%s", seen)
	}
	s.tmux("resize-window", "-t", "t", "-x", "90", "-y", "14")
	s.shows("BASE", "./tiny.tar")

	s.keys("x")
	s.shows("run in work: ")
	s.keys("echo in$((40+2))side", "Enter")
	s.shows("in42side", "exit code 0")
	s.keys("Enter")
	s.shows("> work", "BASE")

	s.keys("D")
	s.shows("destroy work and what it holds?")
	s.keys("no", "Enter")
	s.shows("nothing was done", "> work")
	s.keys("D")
	s.shows("destroy work and what it holds?")
	s.keys("work", "Enter")
	s.shows("no environments yet", "destroyed")
	s.keys("q")
	if s.shows("left with 0", "icanon", "echoke"); strings.Contains(s.tmux("capture-pane", "-p", "-t", "t"), "-icanon") {
		t.Error("the terminal is left raw")
	}
}

// Control-Z gives the terminal back to the shell and fg takes it again; HUP, as from a lost terminal, leaves it as it was.
func TestTUISuspended(t *testing.T) {
	dir, _, env := tuiHome(t)
	s := newScreen(t, dir, env, 90, 14, "HISTFILE= PS1='ready> ' bash --norc --noprofile -i")
	s.shows("ready>")
	s.keys("karapace tui", "Enter")
	s.shows("no environments yet")
	s.keys("C-z")
	s.shows("Stopped")
	s.keys("echo in$((40+2))between", "Enter")
	s.shows("in42between")
	s.keys("fg", "Enter")
	s.shows("no environments yet", "? help")
	var pane int
	if _, err := fmt.Sscan(s.tmux("display-message", "-p", "-t", "t", "#{pane_pid}"), &pane); err != nil {
		t.Fatal(err)
	}
	for _, pid := range descendants(pane) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == "karapace-tui" {
			must(t, syscall.Kill(pid, syscall.SIGHUP))
		}
	}
	s.shows("\nkarapace tui\nready>")
	s.keys("clear; stty -a", "Enter")
	if seen := s.shows("icanon", "echoke"); strings.Contains(seen, "-icanon") || strings.Contains(seen, "-echo ") {
		t.Errorf("the terminal is left raw:\n%s", seen)
	}
}

// A thousand environments are there, and the last one is one key away.
func TestTUICrowded(t *testing.T) {
	dir, store, env := tuiHome(t)
	build := exec.Command(filepath.Join(binaries, "karapace"), "build", "--name", "crowd0")
	build.Dir, build.Env = dir, env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	multiply(t, store, "crowd0", 1000)
	s := newScreen(t, dir, env, 80, 24, "karapace tui")
	s.shows("1000 environments", "> crowd0 ", "crowd19 ")
	s.keys("G")
	s.shows("> crowd999 ", "crowd980 ")
	s.keys("PageUp")
	s.shows("> crowd979 ")
	s.keys("/", "crowd77")
	s.shows("11 of 1000 match crowd77")
	s.keys("Enter", "q")
	s.shows("left with 0")
}

// multiply gives a store n environments like one it has: each has a lock, a record and a name.
func multiply(t *testing.T, store, name string, n int) {
	t.Helper()
	s, err := storage.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.EnvDir(r.EnvID, "karapace.lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := manifest.ParseLock("karapace.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < n; i++ {
		lock.Env = []manifest.EnvVar{{Name: "NUMBER", Value: fmt.Sprint(i)}}
		r.EnvID, r.Env, r.Name = lock.ID(), lock.Env, fmt.Sprint("crowd", i)
		r.CreatedAt = r.CreatedAt.Add(time.Second)
		record, err := storage.EncodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(s.EnvDir(r.EnvID), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{"karapace.lock": lock.Encode(), "record.json": record} {
			if err := os.WriteFile(s.EnvDir(r.EnvID, file), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(string(r.EnvID), s.Path("names", r.Name)); err != nil {
			t.Fatal(err)
		}
	}
}
