package storage

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets this program hold locks as another process: it is called again with HOLD_LOCK.
func TestMain(m *testing.M) {
	path := os.Getenv("HOLD_LOCK")
	if path == "" {
		os.Exit(m.Run())
	}
	l, err := TryLock(path)
	if err != nil || l == nil {
		os.Exit(1)
	}
	os.Stdout.WriteString("held\n")
	if os.Getenv("LEAVE_CHILD") != "" { // one that keeps the lock and whose pid the kernel does not know for it
		child := exec.Command("/bin/sleep", "60")
		child.ExtraFiles = []*os.File{l.f}
		if child.Start() != nil {
			os.Exit(1)
		}
		fmt.Println(child.Process.Pid)
		os.Exit(0)
	}
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// hold makes another process hold a lock, called with args.
func hold(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = args
	cmd.Env = []string{"HOLD_LOCK=" + path}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatal(line, err)
	}
	return cmd
}

func holdersOf(t *testing.T, path string) []Holder {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Holders(f)
}

// The kernel tells who holds a lock: its pid, how it was called, and whether it is stopped; and nothing of one that is dead.
func TestHolders(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := holdersOf(t, path); got != nil {
		t.Fatalf("of a free lock: %v", got)
	}
	cmd := hold(t, path, "/opt/karapace-store", "build", "we\x1bb", "--", "secret")
	got := holdersOf(t, path)
	if len(got) != 1 || got[0].Pid != cmd.Process.Pid || got[0].Command != "karapace build we?b" || got[0].Age < 0 || got[0].Age > time.Minute || got[0].Stopped {
		t.Fatalf("%+v", got)
	}
	cmd.Process.Signal(unix.SIGSTOP)
	for range 100 {
		if got = holdersOf(t, path); len(got) == 1 && got[0].Stopped {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(got) != 1 || !got[0].Stopped || !strings.HasSuffix(got[0].String(), "s ago, stopped)") {
		t.Errorf("of a stopped one: %v", got)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if got := holdersOf(t, path); got != nil {
		t.Errorf("of a killed one: %v", got)
	}
	if l, err := TryLock(path); err != nil || l == nil {
		t.Errorf("after its death: %v, %v", l, err)
	}
}

// A lock that a child of its dead holder has is nobody's that is known, whoever has that one's pid now.
func TestHolderGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"HOLD_LOCK=" + path, "LEAVE_CHILD=1"}
	out, err := cmd.Output()
	pid, convErr := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(out), "held\n")))
	if err != nil || convErr != nil {
		t.Fatalf("%q, %v", out, err)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		t.Fatal("the lock is free")
	}
	if got := Holders(f); got != nil {
		t.Errorf("%v", got)
	}
	if foreign(os.Getpid(), f) {
		t.Error("a process that has the file is taken for one that has not")
	}
	if sleeper := exec.Command("/bin/sleep", "60"); sleeper.Start() == nil {
		defer sleeper.Process.Kill()
		if !foreign(sleeper.Process.Pid, f) {
			t.Error("a process that does not have the file is taken for its holder")
		}
	}
	var told []Holder
	ctx, cancel := context.WithTimeout(context.Background(), 3*Patience)
	defer cancel()
	WaitLock(ctx, path, func(h Holder) { told = append(told, h) })
	if len(told) != 1 || told[0].String() != "another process" {
		t.Errorf("told %v", told)
	}
}

// Each holder is told once, after a while, and the lock comes when the last one has gone.
func TestWaiting(t *testing.T) {
	dir := t.TempDir()
	cmd := hold(t, dir+"/.", "karapace", "gc")
	var told []Holder
	begun := time.Now()
	time.AfterFunc(4*Patience, func() { cmd.Process.Kill() })
	l, err := WaitLock(context.Background(), dir+"/.", func(h Holder) {
		if time.Since(begun) < Patience {
			t.Error("told at once")
		}
		told = append(told, h)
	})
	if err != nil || len(told) != 1 || told[0].Command != "karapace gc" {
		t.Fatalf("%v, told %v", err, told)
	}
	l.Unlock()
}

// What somebody has locked and nobody finds any more keeps nobody out, and who waited for it takes the one that is there.
func TestLockDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	hold(t, path, "holder")
	got := make(chan error, 1)
	go func() {
		l, err := WaitLock(context.Background(), path, nil)
		if err == nil {
			if second, _ := TryLock(path); second != nil {
				t.Error("the lock that was waited for is not the one that is there")
			}
			l.Unlock()
		}
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

// Nothing that a process may call itself acts on a terminal or fills it.
func TestWords(t *testing.T) {
	for in, want := range map[string]string{"a\x1b[31mb\n": "a?[31mb?", "\u202e": "?", "\xff": "?", "é": "é", strings.Repeat("x", 200): strings.Repeat("x", 100) + "..."} {
		if got := words(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
