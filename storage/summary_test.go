package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

// crowded is a store of many environments whose records have been there for a while.
func crowded(t *testing.T, n int) *Store {
	s := newStore(t)
	for i := range n {
		r := &Record{RecordVersion: 1, EnvID: manifest.EnvID(fmt.Sprintf("%064x", i)), Name: fmt.Sprint("e", i), State: "built", BaseImage: "b\x00\n", CreatedAt: time.Unix(int64(n-i), 0)}
		body, err := EncodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		dir := s.EnvDir(r.EnvID)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, recordName), body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// same reads all records for comparison.
func same(t *testing.T, s *Store, when string) {
	t.Helper()
	records, bad := s.Records()
	want := make([]Summary, len(records))
	for i, r := range records {
		want[i] = r.Summary()
	}
	got, gotBad := s.Summaries()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %d summaries are not those of the %d records", when, len(got), len(want))
	}
	if fmt.Sprint(gotBad) != fmt.Sprint(bad) {
		t.Errorf("%s: problems %v, want %v", when, gotBad, bad)
	}
}

// Whatever happens to records and to what is remembered of them, summaries are those of the records.
func TestSummaries(t *testing.T) {
	s := crowded(t, manySummaries+20)
	same(t, s, "at first")
	for range 600 { // what is younger is not remembered
		time.Sleep(settledAfter)
		same(t, s, "nothing remembered")
		if r := decodeSummaries(s.remembered(summariesName, summariesMagic)); len(r.summaries) == manySummaries+20 && r.known() && r.identities[0] != (identity{}) {
			break
		}
	}
	before, err := os.Stat(s.Path(summariesName))
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, "all remembered")
	if after, err := os.Stat(s.Path(summariesName)); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again for nothing: %v", err)
	}
	same(t, s, "nothing remembered")
	if r := decodeSummaries(s.remembered(summariesName, summariesMagic)); len(r.summaries) != manySummaries+20 || !r.known() {
		t.Fatalf("%d are remembered", len(r.summaries))
	}
	same(t, s, "all remembered")

	id := manifest.EnvID(fmt.Sprintf("%064x", 7))
	r, err := s.Record(id)
	if err != nil {
		t.Fatal(err)
	}
	r.Name = "x7"
	if err := s.WriteRecord(r); err != nil {
		t.Fatal(err)
	}
	same(t, s, "one renamed")
	path := s.EnvDir(id, recordName)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
	same(t, s, "one damaged")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	same(t, s, "one without a record")
	if err := os.RemoveAll(s.EnvDir(id)); err != nil {
		t.Fatal(err)
	}
	same(t, s, "one gone")

	file := s.Path(summariesName)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(good); at += 13 {
		bad := append([]byte(nil), good...)
		bad[at] ^= 4
		for _, b := range [][]byte{bad, good[:at]} {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if r := decodeSummaries(s.remembered(summariesName, summariesMagic)); len(r.summaries) != 0 {
				t.Fatalf("with a wrong byte at %d %d are remembered", at, len(r.summaries))
			}
		}
	}
	same(t, s, "a damaged file")
}

// settle lists until everything is remembered.
func settle(t *testing.T, s *Store, n int) rememberedSummaries {
	t.Helper()
	for range 600 { // what is younger is not remembered
		s.Summaries()
		present := generation{boot(), identify(unix.AT_FDCWD, s.Path("envs"))}
		if r := decodeSummaries(s.remembered(summariesName, summariesMagic)); len(r.summaries) == n && r.is(present) {
			return r
		}
		time.Sleep(settledAfter)
	}
	t.Fatal("nothing is remembered")
	return rememberedSummaries{}
}

// What is remembered counts until a record is written through the store, and in the same boot.
func TestSummariesGeneration(t *testing.T) {
	s := crowded(t, manySummaries)
	id := manifest.EnvID(fmt.Sprintf("%064x", 7))
	r, err := s.Record(id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		settle(t, s, manySummaries)
		r.Name = fmt.Sprint("renamed", i)
		if err := s.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
		same(t, s, r.Name)
	}
	before := settle(t, s, manySummaries)
	path := s.EnvDir(id, recordName)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body[:len(body)-1], 0o644); err != nil { // the directory of all stays as it was
		t.Fatal(err)
	}
	if _, bad := s.Summaries(); len(bad) > 0 {
		t.Errorf("every record was looked at: %v", bad)
	}
	before.boot = "another"
	entries := make([]summaryEntry, len(before.summaries))
	for i, sum := range before.summaries {
		entries[i] = summaryEntry{sum, before.identities[i]}
	}
	s.rememberSummaries(before.generation, entries)
	same(t, s, "after a boot")
}

// Of two environments with one name the one has it that the name leads to.
func TestSummariesOfOneName(t *testing.T) {
	for _, n := range []int{3, manySummaries} {
		s := crowded(t, n)
		first, second := manifest.EnvID(fmt.Sprintf("%064x", 0)), manifest.EnvID(fmt.Sprintf("%064x", n-1))
		r, err := s.Record(second)
		if err != nil {
			t.Fatal(err)
		}
		r.Name = "e0"
		if err := s.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
		for _, holder := range []manifest.EnvID{first, second, first} {
			if err := s.LinkName("e0", holder); err != nil {
				t.Fatal(err)
			}
			all, bad := s.Summaries()
			if len(all) != n || len(bad) > 0 {
				t.Fatalf("%d summaries, %v", len(all), bad)
			}
			for _, sum := range all {
				if want := sum.EnvID == holder; (sum.Name == "e0") != want || sum.Name == "" && sum.EnvID != first && sum.EnvID != second {
					t.Errorf("of %d, while the name leads to %s, %s is called %q", n, holder, sum.EnvID, sum.Name)
				}
			}
		}
	}
}

// What is remembered of a hundred environments costs one file: a store of few has none.
func TestFewSummaries(t *testing.T) {
	s := crowded(t, 3)
	same(t, s, "few")
	if _, err := os.Lstat(s.Path(summariesName)); err == nil {
		t.Error("a file for three environments")
	}
}

func FuzzSummaries(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x40aaaa"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range decodeSummaries(string(body)).summaries {
			if len(e.EnvID)+len(e.Name) > len(body) {
				t.Errorf("%d bytes of names from %d", len(e.EnvID)+len(e.Name), len(body))
			}
		}
	})
}
