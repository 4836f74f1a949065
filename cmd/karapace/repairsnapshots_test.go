package main

import (
	"strings"
	"testing"

	"github.com/karapace/karapace/storage"
)

// forked makes two snapshots of what was built, and gives their directories.
func (b *faultBench) forked() (dirs []string) {
	b.t.Helper()
	b.karapace("build", "t.toml", "--name", "t")
	for _, name := range []string{"a", "b"} {
		b.inside("echo >/srv/" + name)
		b.karapace("commit", "t", "-m", "with "+name)
		b.karapace("restore", "t", "built")
	}
	s, err := storage.Open(b.store())
	must(b.t, err)
	r, err := s.Find("t")
	must(b.t, err)
	for _, snap := range r.Snapshots {
		dirs = append(dirs, s.EnvDir(r.EnvID, snap.Dir))
	}
	if len(dirs) != 2 {
		b.t.Fatalf("%d snapshots", len(dirs))
	}
	return dirs
}

// Two snapshots of which nothing is left become one, and not a record that nobody can read.
func TestRepairEmptySnapshots(t *testing.T) {
	b := newFaultBench(t, "")
	b.mapped(append([]string{"/bin/rm", "-rf"}, b.forked()...)...)
	for range 2 {
		b.karapace("verify-store", "--repair")
		b.karapace("exec", "t", "--", "true")
		b.karapace("gc")
	}
	if got := b.snapshots(); len(got) != 1 || !strings.Contains(got[0].Message, "damaged: was ") {
		t.Errorf("%+v", got)
	}
}

// A snapshot that cannot be read stays as it is and is named, and all else is repaired.
func TestRepairUnreadableSnapshot(t *testing.T) {
	b := newFaultBench(t, "")
	dirs := b.forked()
	b.mapped(damageTool, "SOCKET", dirs[0]+"/socket", "0")
	b.mapped("/bin/rm", "-rf", dirs[1])
	a := b.try("verify-store", "--repair")
	if a.Exit != exitStore || !strings.Contains(a.stdout+a.stderr, "karapace snapshots rm t ") || !strings.Contains(a.stdout+a.stderr, "kept as it is now") {
		t.Errorf("%+v", a)
	}
	b.karapace("exec", "t", "--", "true")
	for _, s := range b.snapshots() {
		if s.Message == "with a" {
			b.karapace("snapshots", "rm", "t", string(s.Snapshot))
		}
	}
	b.karapace("gc")
	b.karapace("verify-store")
}
