package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// snap is a snapshot whose layer is made of a text.
func snap(parent digest.Digest, text, dir string) Snapshot {
	layer := digest.FromString(text)
	return Snapshot{ID: SnapshotID(parent, layer), Layer: layer, Parent: parent, Dir: dir}
}

func TestSnapshots(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	if got := s.Lowers(r); len(got) != 1 || filepath.Base(got[0]) != "host" {
		t.Errorf("built: %v", got)
	}
	a := snap("", "a", "upper")
	b := snap(a.ID, "b", "upper.1")
	again := snap(b.ID, "a", "upper.2") // the same changes of another state
	for _, x := range []Snapshot{a, b, again, snap(b.ID, "a", "upper.3")} {
		r.Add(x)
	}
	r.Lower = []string{"storage/l/x"}
	if len(r.Snapshots) != 3 || a.ID != a.Layer || again.ID == a.ID || r.Current != again.ID {
		t.Errorf("%+v, at %s", r.Snapshots, r.Current)
	}
	want := []string{s.EnvDir(r.EnvID, "upper.2"), s.EnvDir(r.EnvID, "upper.1"), s.EnvDir(r.EnvID, "upper"), s.EnvDir(r.EnvID, "host"), s.Path("storage/l/x")}
	if got := s.Lowers(r); !slices.Equal(got, want) {
		t.Errorf("lower directories %v", got)
	}
	for ref, n := range map[string]int{string(a.ID): 1, a.ID.Encoded(): 1, a.ID.Encoded()[:10]: 1, "": 0, "sha256:": 0, "xyz": 0, "sha512:" + a.ID.Encoded(): 0} {
		if got := r.Match(ref); len(got) != n {
			t.Errorf("%q means %v", ref, got)
		}
	}
	var used *InUseError
	for _, id := range []digest.Digest{a.ID, b.ID, again.ID} {
		if _, err := r.Remove(id); !errors.As(err, &used) {
			t.Errorf("remove %s: %v", id, err)
		}
	}
	if _, err := r.Remove("sha256:none"); err == nil {
		t.Error("a snapshot that is not there was removed")
	}
	if err := r.GoTo("sha256:none"); err == nil {
		t.Error("went to a snapshot that is not there")
	}
	if err := r.GoTo(""); err != nil {
		t.Fatal(err)
	}
	if dir, err := r.Remove(again.ID); err != nil || dir != "upper.2" || len(r.Snapshots) != 2 {
		t.Errorf("%q, %v", dir, err)
	}
}

// A record that says something impossible about snapshots is damaged, whatever would become of it.
func TestDamagedSnapshots(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	a := snap("", "a", "upper")
	b := snap(a.ID, "b", "upper.1")
	wrong := b
	wrong.ID = b.Layer
	outside := a
	outside.Dir = "../../x"
	loop := a
	loop.Parent = a.ID
	for name, f := range map[string]func(*Record){
		"no parent":      func(r *Record) { r.Snapshots = []Snapshot{b} },
		"child first":    func(r *Record) { r.Snapshots = []Snapshot{b, a} },
		"another id":     func(r *Record) { r.Snapshots = []Snapshot{a, wrong} },
		"no id":          func(r *Record) { r.Snapshots = []Snapshot{{Dir: "upper"}} },
		"twice":          func(r *Record) { r.Snapshots = []Snapshot{a, a} },
		"outside":        func(r *Record) { r.Snapshots = []Snapshot{outside} },
		"its own parent": func(r *Record) { r.Snapshots = []Snapshot{loop} },
		"current":        func(r *Record) { r.Current = a.ID },
		"state":          func(r *Record) { r.State = "running" },
		"earlier state":  func(r *Record) { r.Was = "gone" },
		"upper":          func(r *Record) { r.Upper = "../x" },
	} {
		bad := *r
		f(&bad)
		text, err := Seal(&bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.EnvDir(r.EnvID, "record.json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		var se *Error
		if _, err := s.Record(r.EnvID); !errors.As(err, &se) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A crash between any two steps of a commit leaves the record that was there, and directories that it does not name.
func TestUnnamed(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	moved := []string{"..upper.1.47.1.48.3", ".host.2.47.1", ".upper.47.2"} // by removals that ended early
	for _, d := range append([]string{"upper", "upper.1", "upper.2", "work", "host", "upper-hand", ".uppers"}, moved...) {
		if err := os.Mkdir(s.EnvDir(r.EnvID, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unnamed := func(want ...string) {
		t.Helper()
		r, err := s.Record(r.EnvID)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Unnamed(r); err != nil || !slices.Equal(got, append(moved, want...)) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	unnamed("upper.1", "upper.2")
	_, err := s.Update(context.Background(), r.EnvID, func(r *Record) error {
		r.Add(snap("", "a", "upper"))
		r.Upper = "upper.2"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	unnamed("upper.1")
}

func TestPristine(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	if s.Pristine(r) {
		t.Error("without a writable layer")
	}
	if err := os.Mkdir(s.UpperDir(r), 0o755); err != nil {
		t.Fatal(err)
	}
	if !s.Pristine(r) || s.Expendable(r) != nil {
		t.Error("an empty layer")
	}
	if err := os.Chmod(s.UpperDir(r), 0o700); err != nil {
		t.Fatal(err)
	}
	if s.Pristine(r) {
		t.Error("a changed root")
	}
	if err := errors.Join(os.Chmod(s.UpperDir(r), 0o755), os.Mkdir(filepath.Join(s.UpperDir(r), "x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	var work *WorkError
	if err := s.Expendable(r); s.Pristine(r) || !errors.As(err, &work) || !work.Drift || work.Snapshots != 0 {
		t.Errorf("drift: %v", err)
	}
}

// Changes of one record from many sides are all kept; renaming loses none of them.
func TestUpdate(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	stale := *r
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.Update(context.Background(), r.EnvID, func(r *Record) error {
				r.Snapshots = append(r.Snapshots, snap("", string(rune('a'+i)), "upper"))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Rename(context.Background(), &stale, "two"); err != nil {
		t.Fatal(err)
	}
	now, err := s.Record(r.EnvID)
	if err != nil || len(now.Snapshots) != 20 || now.Name != "two" {
		t.Errorf("%d snapshots of %q, %v", len(now.Snapshots), now.Name, err)
	}
	if s.Changed(now) || !s.Changed(r) {
		t.Error("Changed does not see what changed")
	}
}

func TestAloneIn(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	ctx := context.Background()
	alone, err := s.AloneIn(ctx, r.EnvID)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := s.TrySettledIn(r.EnvID); l != nil || err != nil {
		t.Errorf("settled beside who is alone: %v", err)
	}
	alone.Unlock()
	first, err1 := s.TrySettledIn(r.EnvID)
	second, err2 := s.SettledIn(ctx, r.EnvID)
	if first == nil || second == nil || err1 != nil || err2 != nil {
		t.Fatalf("settled: %v, %v", err1, err2)
	}
	if l, err := s.TryAloneIn(r.EnvID); l != nil || err != nil {
		t.Errorf("alone beside others: %v", err)
	}
	first.Unlock()
	second.Unlock()
	if err := os.RemoveAll(s.EnvDir(r.EnvID)); err != nil {
		t.Fatal(err)
	}
	var gone *NotFoundError
	if _, err := s.AloneIn(ctx, r.EnvID); !errors.As(err, &gone) {
		t.Errorf("in what is gone: %v", err)
	}
	if _, err := os.Stat(s.EnvDir(r.EnvID)); err == nil {
		t.Error("locking made the environment")
	}
}

// Every action has one rule, refuses with what leads out of a state, and leads where it says.
func TestTransitions(t *testing.T) {
	after := map[Action][3]string{
		Freeze: {StateFrozen, StateFrozen, ""}, Unfreeze: {StateBuilt, StateBuilt, ""},
		Archive: {StateArchived, StateArchived, StateArchived}, Unarchive: {StateBuilt, StateFrozen, StateBuilt},
	}
	seen := map[Action]bool{}
	for _, rule := range Transitions() {
		if seen[rule.Action] {
			t.Errorf("%s has two rules", rule.Action)
		}
		seen[rule.Action] = true
		for i, state := range []string{StateBuilt, StateFrozen, StateArchived} {
			r := &Record{Name: "t", State: state}
			helps := []string{"", rule.Frozen, rule.Archived}[i]
			var refused *StateError
			err := r.Allow(rule.Action, false)
			if errors.As(err, &refused) != (helps != "") || helps != "" && refused.Helps != helps {
				t.Errorf("%s when %s: %v", rule.Action, state, err)
			}
			if err := r.Allow(rule.Action, true); (err == nil) != (helps == "" || rule.Forced) {
				t.Errorf("%s --force when %s: %v", rule.Action, state, err)
			}
			if want := after[rule.Action]; want[i] != "" && r.After(rule.Action) != want[i] {
				t.Errorf("%s when %s leads to %s", rule.Action, state, r.After(rule.Action))
			}
			if helps == "" {
				continue
			}
			if r.Become(r.After(Action(helps))); r.Allow(rule.Action, false) != nil {
				t.Errorf("%s does not help %s", helps, rule.Action)
			}
		}
	}
	r := &Record{State: StateFrozen}
	r.Become(StateArchived)
	if r.Become(r.After(Unarchive)); r.State != StateFrozen || r.Was != "" {
		t.Errorf("out of the archive it is %s", r.State)
	}
}
