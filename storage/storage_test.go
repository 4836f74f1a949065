package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put makes an environment whose id is made of one digit.
func put(t *testing.T, s *Store, digit, name string) *Record {
	t.Helper()
	r := &Record{RecordVersion: 1, EnvID: manifest.EnvID(strings.Repeat(digit, 64)), Name: name, State: "built", CreatedAt: time.Unix(int64(digit[0]), 0)}
	if err := os.Mkdir(s.EnvDir(r.EnvID), 0o755); err != nil {
		t.Fatal(err)
	}
	err := s.ChangeNames(context.Background(), func() error {
		if err := s.LinkName(name, r.EnvID); err != nil {
			return err
		}
		return s.WriteRecord(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "store")
	if _, err := Open(root); !errors.Is(err, ErrNoStore) {
		t.Errorf("no store: %v", err)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("looking for a store made one")
	}
	if _, err := Create(root); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(root); err != nil {
		t.Errorf("create again: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "version"), []byte("karapace store 9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var se *Error
	if _, err := Open(root); !errors.As(err, &se) || !strings.Contains(se.Error(), "version 9") {
		t.Errorf("another version: %v", err)
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.MkdirAll(filepath.Join(foreign, "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(foreign); !errors.As(err, &se) || !strings.Contains(se.Error(), "photos") {
		t.Errorf("a directory that is something else: %v", err)
	}
}

func TestFind(t *testing.T) {
	s := newStore(t)
	a := put(t, s, "a", "one")
	put(t, s, "b", "")
	long := put(t, s, "c", "abba")
	other := *long
	other.EnvID = manifest.EnvID(strings.Repeat("c", 63) + "d")
	if err := os.Mkdir(s.EnvDir(other.EnvID), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteRecord(&other); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]manifest.EnvID{"one": a.EnvID, "a": a.EnvID, string(a.EnvID): a.EnvID, "bb": manifest.EnvID(strings.Repeat("b", 64)), "abba": long.EnvID} {
		if r, err := s.Find(ref); err != nil || r.EnvID != want {
			t.Errorf("%s: %v, %v", ref, r, err)
		}
	}
	for _, ref := range []string{"", "two", "d", "../one", "one/", strings.Repeat("e", 64), "ccc"} {
		var missing *NotFoundError
		if r, err := s.Find(ref); !errors.As(err, &missing) {
			t.Errorf("%q: %v, %v", ref, r, err)
		} else if (ref == "ccc") != (len(missing.Matches) == 2) {
			t.Errorf("%q matches %v", ref, missing.Matches)
		}
	}
}

// A link that a crash left behind, before or after its record was written, is no name.
func TestNames(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	a, b := put(t, s, "a", "one"), put(t, s, "b", "two")
	if err := s.LinkName("ghost", a.EnvID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("ghost"); err == nil {
		t.Error("a link whose record has another name was believed")
	}
	if unused, err := s.UnusedNames(); err != nil || !slices.Equal(unused, []string{"ghost"}) {
		t.Errorf("unused: %v, %v", unused, err)
	}
	if err := s.Rename(ctx, b, "ghost"); err != nil {
		t.Errorf("a left-over link keeps a name taken: %v", err)
	}
	if err := s.DropUnusedName(ctx, "ghost"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that was taken meanwhile is dropped: %v", err)
	}
	if _, err := s.Find("two"); err == nil {
		t.Error("the old name still leads somewhere")
	}
	var taken *NameTakenError
	if err := s.Rename(ctx, a, "ghost"); !errors.As(err, &taken) || taken.By != b.EnvID || a.Name != "one" {
		t.Errorf("rename to a taken name: %v, name is %q", err, a.Name)
	}
	if r, err := s.Find("one"); err != nil || r.EnvID != a.EnvID {
		t.Errorf("after a refused rename: %v, %v", r, err)
	}
}

// Many processes rename at once; each name has one owner in the end.
func TestRenameRace(t *testing.T) {
	s := newStore(t)
	var records []*Record
	for _, d := range []string{"1", "2", "3", "4"} {
		records = append(records, put(t, s, d, "start-"+d))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for _, r := range records {
		wg.Go(func() {
			for i := range 5 {
				name := fmt.Sprintf("name-%d", i)
				if err := s.Rename(context.Background(), r, name); err == nil {
					mu.Lock()
					won[name]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, r := range records {
		got, err := s.Find(r.Name)
		if err != nil || got.EnvID != r.EnvID || seen[r.Name] {
			t.Errorf("%s: %v, %v", r.Name, got, err)
		}
		seen[r.Name] = true
	}
	if len(won) == 0 {
		t.Error("no rename succeeded")
	}
}

// An environment that is destroyed and built again while it is looked for is there or not, and never damaged.
func TestBuiltAgain(t *testing.T) {
	s := newStore(t)
	r := put(t, s, "a", "one")
	dir, aside := s.EnvDir(r.EnvID), s.Path("tmp", "aside")
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(dir, aside)
				os.Rename(aside, dir)
			}
		}
	}()
	for range 20000 {
		var gone *NotFoundError
		if _, err := s.Find("one"); err != nil && !errors.As(err, &gone) {
			t.Error(err)
			break
		}
		if _, bad := s.Records(); len(bad) > 0 {
			t.Error(bad)
			break
		}
	}
	close(stop)
	<-stopped
	if err := os.Remove(s.EnvDir(r.EnvID, "record.json")); err != nil {
		t.Fatal(err)
	}
	var damage *Error
	if _, err := s.Find("one"); !errors.As(err, &damage) {
		t.Errorf("without its record: %v", err)
	}
}

// Records that are damaged in any way are named and do not hide the others.
func TestDamagedRecords(t *testing.T) {
	s := newStore(t)
	put(t, s, "a", "good")
	bad := put(t, s, "b", "bad")
	path := s.EnvDir(bad.EnvID, "record.json")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"empty": func() error { return os.WriteFile(path, nil, 0o644) },
		"cut":   func() error { return os.WriteFile(path, body[:len(body)/2], 0o644) },
		"other id": func() error {
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(body), "bbbb", "cccc")), 0o644)
		},
		"escape": func() error {
			return os.WriteFile(path, []byte(strings.Replace(string(body), `"lower":null`, `"lower":["../../etc"]`, 1)), 0o644)
		},
		"name": func() error {
			named := *bad
			named.Name = "../../victim"
			body, err := EncodeRecord(&named)
			return errors.Join(err, os.WriteFile(path, body, 0o644))
		},
		"directory": func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
		"link":      func() error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) },
		"large": func() error {
			return errors.Join(os.Remove(path), os.WriteFile(path, make([]byte, recordLimit+1), 0o644))
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		good, errs := s.Records()
		if len(good) != 1 || len(errs) != 1 {
			t.Errorf("%s: %d good, %v", name, len(good), errs)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// However many records there are, each is found once, in the order of age, and each damaged one is named.
func TestManyRecords(t *testing.T) {
	s := newStore(t)
	const n = 300
	for i := range n {
		r := &Record{RecordVersion: 1, EnvID: manifest.EnvID(fmt.Sprintf("%064x", i)), State: "built", CreatedAt: time.Unix(int64(n-i), 0)}
		for j := range 5 {
			r.Add(snap(r.Current, fmt.Sprint(i, j), fmt.Sprint("upper.", j)))
		}
		body, err := EncodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 7 {
			body = body[1:]
		}
		dir := s.EnvDir(r.EnvID)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "record.json"), body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	good, bad := s.Records()
	if len(good) != n-3 || len(bad) != 3 {
		t.Fatalf("%d records and %v", len(good), bad)
	}
	for i, want := 0, n-1; want >= 0; want-- {
		if want%100 == 7 {
			if name := fmt.Sprintf("%064x", want)[:12]; !slices.ContainsFunc(bad, func(err error) bool { return strings.Contains(err.Error(), name) }) {
				t.Errorf("nobody tells of %s: %v", name, bad)
			}
			continue
		}
		if got := string(good[i].EnvID); got != fmt.Sprintf("%064x", want) || len(good[i].Snapshots) != 5 {
			t.Fatalf("record %d is %s", i, got)
		}
		i++
	}
}

// A scratch directory is its maker's until it is released, and anybody's garbage then.
func TestScratch(t *testing.T) {
	s := newStore(t)
	mine, err := s.Scratch("test")
	if err != nil {
		t.Fatal(err)
	}
	if left, err := s.Abandoned(); err != nil || len(left) != 0 {
		t.Errorf("in use: %v, %v", left, err)
	}
	mine.Release()
	left, err := s.Abandoned()
	if err != nil || len(left) != 1 || left[0].Dir != mine.Dir {
		t.Fatalf("released: %v, %v", left, err)
	}
	if again, err := s.Abandoned(); err != nil || len(again) != 0 {
		t.Errorf("two sweeps have it: %v, %v", again, err)
	}
}

// A reader of a file being rewritten sees one content or the other, whole.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<16)
	if err := WriteFile(path, []byte(a), 0o640); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for i := range 20 {
			if err := WriteFile(path, []byte([]string{a, b}[i%2]), 0o640); err != nil {
				done <- err
			}
		}
		close(done)
	}()
	for open := true; open; {
		select {
		case err, more := <-done:
			if err != nil {
				t.Fatal(err)
			}
			open = more
		default:
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != a && string(got) != b {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("temporary files are left: %v", names)
	}
	if err := WriteFile(filepath.Join(path, "below"), nil, 0o644); err == nil {
		t.Error("writing below a file succeeded")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := TryLock(path)
	if err != nil || held == nil {
		t.Fatal(held, err)
	}
	if second, err := TryLock(path); err != nil || second != nil {
		t.Errorf("taken twice: %v, %v", second, err)
	}
	waited := 0
	ctx, cancel := context.WithTimeout(context.Background(), Patience/2)
	defer cancel()
	if _, err := WaitLock(ctx, path, func(Holder) { waited++ }); !errors.Is(err, context.DeadlineExceeded) || waited != 0 {
		t.Errorf("waiting: %v, told %d times", err, waited)
	}
	held.Unlock()
	if l, err := TryLock(path); err != nil || l == nil {
		t.Errorf("after unlock: %v, %v", l, err)
	}
}

func TestBuilt(t *testing.T) {
	s := newStore(t)
	b := &Built{Key: "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Kind: "base", Image: "x", Layer: "sha256:" + "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Size: 7, Epoch: 9, Env: []string{"A=b"}}
	if got := s.Built(b.Key); got != nil {
		t.Errorf("before: %v", got)
	}
	if err := s.RememberBuilt(b); err != nil {
		t.Fatal(err)
	}
	if got := s.Built(b.Key); got == nil || got.Layer != b.Layer || got.Size != 7 || got.Epoch != 9 || len(got.Env) != 1 {
		t.Errorf("after: %v", got)
	}
	if all, err := s.Bases(); err != nil || len(all) != 1 {
		t.Errorf("bases: %v, %v", all, err)
	}
	if err := errors.Join(s.ForgetBuilt(b.Key), s.ForgetBuilt(b.Key)); err != nil {
		t.Error(err)
	}
	if got := s.Built(b.Key); got != nil {
		t.Errorf("forgotten: %v", got)
	}
}
