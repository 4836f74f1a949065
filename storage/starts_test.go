package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

const someID manifest.EnvID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// environments makes the directories of n.
func environments(t *testing.T, s *Store, n int) (all []manifest.EnvID) {
	t.Helper()
	for i := range n {
		all = append(all, manifest.EnvID(fmt.Sprintf("%064x", i)))
		if err := os.Mkdir(s.EnvDir(all[i]), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// What has not been started since all were asked is not asked again.
func TestRunning(t *testing.T) {
	s := newStore(t)
	all := environments(t, s, manySummaries)
	runs := map[manifest.EnvID]bool{}
	asked := func(when string, want int) {
		t.Helper()
		var questions [manySummaries]bool // several are asked at once
		found := s.Running(all, func(id manifest.EnvID) (bool, error) {
			var i int
			fmt.Sscanf(string(id), "%x", &i)
			questions[i] = true
			return runs[id], nil
		})
		if !maps.Equal(found, runs) {
			t.Errorf("%s: %v run, want %v", when, found, runs)
		}
		n := 0
		for _, q := range questions {
			if q {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d are asked, want %d", when, n, want)
		}
	}
	start := func(id manifest.EnvID) {
		t.Helper()
		runs[id] = true
		if err := s.NoteStart(id); err != nil {
			t.Fatal(err)
		}
	}

	asked("at first", manySummaries)
	asked("with a file of starts", manySummaries)
	asked("nothing runs", 0)
	for i, id := range []manifest.EnvID{all[7], all[99], all[50]} {
		start(id)
		asked("one started", i+1)
		asked("nothing new", i+1)
	}
	delete(runs, all[99])
	asked("one ended", 3)
	for i := range 3 * fewStarts {
		id := all[i+51]
		start(id)
		delete(runs, id)
	}
	asked("many started and ended", 3*fewStarts+3)
	asked("nothing new since", 2)
	for range 2000 { // the file is replaced some times
		start(all[7])
	}
	asked("many starts", manySummaries)
	asked("nothing new since many starts", 2)
	if i, err := os.Stat(s.Path(startedName)); err != nil || i.Size() > startedLimit+100 {
		t.Errorf("the file of starts has %d bytes: %v", i.Size(), err)
	}

	wrong := func(name string, is func() bool) []byte {
		t.Helper()
		good, err := os.ReadFile(s.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		for at := range good {
			bad := append([]byte(nil), good...)
			bad[at] ^= 4
			for _, b := range [][]byte{bad, good[:at]} {
				if err := os.WriteFile(s.Path(name), b, 0o600); err != nil {
					t.Fatal(err)
				}
				if is() {
					t.Fatalf("with a wrong byte of %s at %d it is believed", name, at)
				}
			}
		}
		return good
	}
	if err := s.newStarts(""); err != nil {
		t.Fatal(err)
	}
	asked("another file of starts", manySummaries)
	wrong(runningName, func() bool {
		then, ids := s.rememberedRunning()
		return then.known() || len(ids) > 0
	})
	asked("a damaged file", manySummaries)
	start(all[8])
	then, _ := s.rememberedRunning()
	good := wrong(startedName, func() bool {
		ids, ok := then.since(s.starts())
		return ok && len(ids) > 0 && ids[0] != all[8]
	})
	if err := os.WriteFile(s.Path(startedName), good[:len(good)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	start(all[9])
	asked("a torn line", manySummaries)
	asked("nothing new since a torn line", 4)
	for _, spoil := range []func() error{
		func() error { return os.Remove(s.Path(startedName)) },
		func() error { return os.Truncate(s.Path(startedName), 0) },
		func() error { return os.WriteFile(s.Path(startedName), make([]byte, 4096), 0o600) },
		func() error { return os.WriteFile(s.Path(startedName), make([]byte, 4*startedLimit), 0o600) },
		func() error {
			return errors.Join(os.Remove(s.Path(startedName)), unix.Mkfifo(s.Path(startedName), 0o600))
		},
	} {
		for _, next := range []func(){func() { asked("no file of starts", manySummaries) }, func() { start(all[9]) }} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			next()
			s.Running(all, func(id manifest.EnvID) (bool, error) { return runs[id], nil }) // makes a file where there is none
			s.Running(all, func(id manifest.EnvID) (bool, error) { return runs[id], nil })
			asked("nothing new in another file of starts", 4)
		}
	}

	all = all[:manySummaries-1]
	os.Remove(s.Path(runningName))
	for range 2 {
		asked("few", manySummaries-1)
	}
	if _, err := os.Lstat(s.Path(runningName)); err == nil {
		t.Error("a file for few environments")
	}
}

// A list that read which environments there are, and was stopped then, must not make the next one believe that none came.
func TestRunningSince(t *testing.T) {
	s := newStore(t)
	all := environments(t, s, manySummaries+1)
	late := all[manySummaries]
	runs := func(id manifest.EnvID) (bool, error) { return id == late, nil }
	if err := s.NoteStart(late); err != nil {
		t.Fatal(err)
	}
	s.Running(all[:manySummaries], runs)
	if then, _ := s.rememberedRunning(); !then.known() {
		t.Fatal("nothing is remembered")
	}
	if found := s.Running(all, runs); !found[late] {
		t.Errorf("%v run, not %s", found, late)
	}
}

// That an environment could not be asked whether it runs is no answer to keep.
func TestRunningUnknown(t *testing.T) {
	s := newStore(t)
	all := environments(t, s, manySummaries)
	if err := s.NoteStart(all[7]); err != nil {
		t.Fatal(err)
	}
	s.Running(all, func(id manifest.EnvID) (bool, error) {
		if id == all[7] {
			return false, syscall.EMFILE
		}
		return false, nil
	})
	found := s.Running(all, func(id manifest.EnvID) (bool, error) { return id == all[7], nil })
	if !found[all[7]] {
		t.Error("it is believed not to run")
	}
}

// Environments that come and go while others look are never missed: what ran before a question, and still does, is in the answer.
func TestRunningBeside(t *testing.T) {
	s := newStore(t)
	all := environments(t, s, manySummaries)
	var runs [manySummaries]atomic.Bool
	ask := func(id manifest.EnvID) (bool, error) {
		var i int
		fmt.Sscanf(string(id), "%x", &i)
		return runs[i].Load(), nil
	}
	var wait sync.WaitGroup
	for first := range 4 {
		wait.Go(func() {
			for n := range 1500 {
				i := (4*n + first) % manySummaries
				runs[i].Store(true)
				if err := s.NoteStart(all[i]); err != nil {
					t.Error(err)
				}
				if found := s.Running(all, ask); !found[all[i]] {
					t.Errorf("environment %d runs, and is not found", i)
				}
				runs[i].Store(n%7 == 0)
			}
		})
	}
	wait.Wait()
}

// What root has left there, who looked into a user's store, keeps no session out.
func TestStartedOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else; not run as this user")
	}
	const nobody = 65534
	s := newStore(t)
	if err := s.NoteStart(someID); err != nil {
		t.Fatal(err)
	}
	for dir := s.Root(); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{s.Root(), s.Path("tmp")} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(nobody); err != nil { // of this thread only, and without root's rights
		t.Fatal(err)
	}
	err := s.NoteStart(someID)
	if back := unix.Setfsuid(0); err != nil || back != nil {
		t.Fatal(err, back)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Path(startedName), &st); err != nil || st.Uid != nobody {
		t.Errorf("the file is of %d: %v", st.Uid, err)
	}
}
