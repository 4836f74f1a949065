package envlock

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func acquire(t *testing.T, dir string) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Acquire(ctx, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestFirstStarts(t *testing.T) {
	dir := t.TempDir()
	if st, err := Query(dir); st != (Status{}) || err != nil {
		t.Errorf("before: %+v, %v", st, err)
	}
	s := acquire(t, dir)
	if !s.Starting {
		t.Fatal("the first does not start")
	}
	if st, err := Query(dir); !st.Running || st.Pid != 0 || err != nil {
		t.Errorf("while it starts: %+v, %v", st, err)
	}
	s.Close()
	if st, err := Query(dir); st.Running || err != nil {
		t.Errorf("after a start that failed: %+v, %v", st, err)
	}
	if again := acquire(t, dir); !again.Starting {
		t.Error("after a start that failed the next one does not start")
	}
}

// A second session waits for the first one's start, as long as it is allowed to.
func TestSecondWaits(t *testing.T) {
	dir := t.TempDir()
	first := acquire(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if s, err := Acquire(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%+v, %v", s, err)
	}
	got := make(chan *Session, 1)
	go func() {
		s, err := Acquire(context.Background(), dir, nil)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	time.Sleep(20 * time.Millisecond)
	first.Close() // the start has failed: the second one is to try
	select {
	case s := <-got:
		if !s.Starting {
			t.Error("it has joined nothing")
		}
		s.Close()
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
}

// The control groups of a container that is being started again stay, though those of the one before were to be removed.
func TestRemoveGroups(t *testing.T) {
	dir, group := t.TempDir(), filepath.Join(t.TempDir(), "group")
	if err := os.MkdirAll(filepath.Join(group, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	next := acquire(t, dir)
	if !next.Starting {
		t.Fatal("there is nothing to join")
	}
	if RemoveGroups(dir, []string{group}) {
		t.Error("there is still something to do")
	}
	if _, err := os.Stat(group); err != nil {
		t.Error(err)
	}
	next.Close()
	if !RemoveGroups(dir, []string{group}) {
		t.Error("nobody is there")
	}
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// A container whose last session has ended is not joined, though its first process has not noticed yet.
func TestEndingIsNotJoined(t *testing.T) {
	dir := t.TempDir()
	open := func() *Session {
		fd, err := openFile(dir, sessionsName, unix.O_RDONLY|unix.O_CREAT)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
			t.Fatal(err)
		}
		return &Session{sessions: fd}
	}
	one := open()
	if !one.alone() {
		t.Error("there is nobody else")
	}
	if err := flock(one.sessions, unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	other := open()
	for range 2 {
		if one.alone() || other.alone() {
			t.Error("there are two")
		}
	}
	unix.Close(one.sessions)
	if !other.alone() {
		t.Error("the other one has ended")
	}
}

// Sessions of a container that has died may be stopped and keep their lock; they must not keep others from starting.
func TestRemnantOfASession(t *testing.T) {
	dir := t.TempDir()
	acquire(t, dir).Close()
	fd, err := openFile(dir, sessionsName, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := flock(fd, unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if s := acquire(t, dir); !s.Starting || isFile(fd, dir, sessionsName) {
		t.Errorf("starting %v, with the old file %v", s.Starting, isFile(fd, dir, sessionsName))
	}
}

// What the lock file says is believed only as far as it goes.
func TestNotes(t *testing.T) {
	sleeper := exec.Command("/bin/sleep", "100")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	for name, text := range map[string]string{
		"nothing": "", "garbage": "\x00\xff{", "another type": `[1]`, "a long text": `{"backend":"` + string(make([]byte, 4096)),
		"a process that is another": `{"backend":"x","pid":1,"start":12345}`, "a pid of nobody": `{"pid":4194303,"start":1}`, "a negative pid": `{"pid":-1}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, lockName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := acquire(t, dir); !s.Starting {
			t.Errorf("%s: it does not start", name)
		}
	}
	// A process that is still what the note says is waited for.
	dir := t.TempDir()
	s := acquire(t, dir)
	if err := s.Started("x", sleeper.Process.Pid); err != nil {
		t.Fatal(err)
	}
	s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Acquire(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a start beside the dying container: %v", err)
	}
	sleeper.Process.Kill()
	if s := acquire(t, dir); !s.Starting {
		t.Error("it does not start")
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	for _, prepare := range []func(){func() {}, func() { acquire(t, dir).Close() }} {
		prepare()
		if done, err := Delete(context.Background(), dir); !done || err != nil {
			t.Fatalf("%v, %v", done, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("left: %v, %v", entries, err)
		}
	}
	// Who has opened the lock before it was deleted must not think that it has it.
	old, err := openFile(dir, lockName, unix.O_RDONLY|unix.O_CREAT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(old)
	if done, err := Delete(context.Background(), dir); !done || err != nil {
		t.Fatalf("%v, %v", done, err)
	}
	if s := acquire(t, dir); !isFile(s.lock, dir, lockName) || isFile(old, dir, lockName) {
		t.Error("the deleted lock is held")
	}
}

// A first process without its lock is ending, however long it still takes.
func TestEnding(t *testing.T) {
	sleeper := exec.Command("/bin/sleep", "100")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	pidfd, err := unix.PidfdOpen(sleeper.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	s := &Session{dir: t.TempDir(), Pid: sleeper.Process.Pid, Pidfd: pidfd}
	for err, want := range map[error]bool{unix.EPERM: true, unix.ESRCH: true, unix.ENOMEM: true, unix.EINVAL: false, unix.EACCES: false} {
		if got := s.Ended(context.Background(), err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
