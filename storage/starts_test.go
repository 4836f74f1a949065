package storage

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

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
	asking := func(when string) (asked int) {
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
		for _, q := range questions {
			if q {
				asked++
			}
		}
		return asked
	}
	settled := func(when string, want int) {
		t.Helper()
		for range 600 { // a start of just now may not be the last
			if asking(when) == want {
				return
			}
			time.Sleep(settledAfter / 4)
		}
		t.Fatalf("%s: more than %d are asked", when, want)
	}
	start := func(id manifest.EnvID) {
		t.Helper()
		runs[id] = true
		if err := s.NoteStart(); err != nil {
			t.Fatal(err)
		}
	}

	if n := asking("at first"); n != manySummaries {
		t.Errorf("at first %d are asked", n)
	}
	settled("nothing runs", 0)
	for i, id := range []manifest.EnvID{all[7], all[99], all[50]} {
		start(id)
		if n := asking("one started"); n != manySummaries {
			t.Errorf("with one started %d are asked", n)
		}
		settled("some run", i+1)
	}
	delete(runs, all[99])
	if n := asking("one ended"); n != 3 {
		t.Errorf("with one ended %d are asked", n)
	}

	good, err := os.ReadFile(s.Path(runningName))
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := append([]byte(nil), good...)
		bad[at] ^= 4
		for _, b := range [][]byte{bad, good[:at]} {
			if err := os.WriteFile(s.Path(runningName), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if then, ids := s.rememberedRunning(); then.known() || len(ids) > 0 {
				t.Fatalf("with a wrong byte at %d %v are remembered", at, ids)
			}
		}
	}
	if n := asking("a damaged file"); n != manySummaries {
		t.Errorf("with a damaged file %d are asked", n)
	}
	if err := os.Remove(s.Path(startedName)); err != nil {
		t.Fatal(err)
	}
	if n := asking("no file"); n != manySummaries {
		t.Errorf("without the file of starts %d are asked", n)
	}

	all = all[:manySummaries-1]
	os.Remove(s.Path(runningName))
	for range 2 {
		if n := asking("few"); n != manySummaries-1 {
			t.Errorf("of few %d are asked", n)
		}
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
	if err := s.NoteStart(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		s.Running(all[:manySummaries], runs)
		if then, _ := s.rememberedRunning(); then.known() {
			if found := s.Running(all, runs); !found[late] {
				t.Errorf("%v run, not %s", found, late)
			}
			return
		}
		time.Sleep(settledAfter / 4)
	}
	t.Fatal("nothing is remembered")
}

// That an environment could not be asked whether it runs is no answer to keep.
func TestRunningUnknown(t *testing.T) {
	s := newStore(t)
	all := environments(t, s, manySummaries)
	if err := s.NoteStart(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * settledAfter)
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

// What root has left there, who looked into a user's store, keeps no session out.
func TestStartedOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else; not run as this user")
	}
	const nobody = 65534
	s := newStore(t)
	if err := s.NoteStart(); err != nil {
		t.Fatal(err)
	}
	for dir := s.Root(); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(s.Root(), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(nobody); err != nil { // of this thread only, and without root's rights
		t.Fatal(err)
	}
	err := s.NoteStart()
	if back := unix.Setfsuid(0); err != nil || back != nil {
		t.Fatal(err, back)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Path(startedName), &st); err != nil || st.Uid != nobody {
		t.Errorf("the file is of %d: %v", st.Uid, err)
	}
}
