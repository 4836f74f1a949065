package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A store goes from version to version by steps; one that fails leaves the version it was about to leave, and what was
// done is done again.
func TestMigrate(t *testing.T) {
	s := newStore(t)
	put(t, s, "a", "one")
	fails := errors.New("the power fails")
	var done []int
	step := func(from int, err *error) Step {
		return Step{From: from, What: "test", Do: func(context.Context, *Store) error { done = append(done, from); return *err }}
	}
	var none, err error
	steps := []Step{step(Version+1, &err), step(Version, &none), step(Version-1, &fails)}
	err = fails
	m, got := s.Migrate(context.Background(), Version+2, steps)
	if !errors.Is(got, fails) || !strings.Contains(got.Error(), "test") {
		t.Fatalf("a step that fails: %v", got)
	}
	if v, err := VersionOf(s.Root()); v != Version+1 || err != nil {
		t.Errorf("version %d, %v after the first step", v, err)
	}
	if text, err := os.ReadFile(filepath.Join(m.Backup, "version")); string(text) != versionText(Version) || err != nil {
		t.Errorf("backup: %q, %v", text, err)
	}
	err = nil
	again, got := s.Migrate(context.Background(), Version+2, steps)
	if got != nil || again.From != Version+1 || again.To != Version+2 || again.Backup == m.Backup {
		t.Errorf("again: %+v, %v", again, got)
	}
	if want := []int{Version, Version + 1, Version + 1}; len(done) != 3 || done[0] != want[0] || done[2] != want[2] {
		t.Errorf("steps %v, want %v", done, want)
	}
	if m, err := s.Migrate(context.Background(), Version+2, steps); err != nil || m.Backup != "" {
		t.Errorf("nothing to do: %+v, %v", m, err)
	}
	var se *Error
	if _, err := s.Migrate(context.Background(), Version, steps); !errors.As(err, &se) || !strings.Contains(se.Error(), "this program knows") {
		t.Errorf("back: %v", err)
	}
	if _, err := s.Migrate(context.Background(), Version+3, steps); !errors.As(err, &se) || !strings.Contains(se.Error(), "cannot migrate") {
		t.Errorf("no step: %v", err)
	}
	var ve *VersionError
	if _, err := Open(s.Root()); !errors.As(err, &ve) || ve.Found != Version+2 || !errors.As(err, &se) || !strings.Contains(se.Hint, "newer") {
		t.Errorf("open a newer store: %v", err)
	}
}

// Records of version 1 become sealed ones that say the same; what is damaged stays and is named.
func TestSealRecords(t *testing.T) {
	s := newStore(t)
	good, bad := put(t, s, "a", "good"), put(t, s, "b", "bad")
	unseal := func(r *Record) {
		t.Helper()
		path := s.EnvDir(r.EnvID, "record.json")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		begin, _, _ := bytes.Cut(b, []byte(sealBegin))
		if err := os.WriteFile(path, append(begin, "}\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	unseal(good)
	if _, err := s.Record(good.EnvID); err == nil {
		t.Error("a record without a seal was read")
	}
	if v, err := s.GuessVersion(); v != 1 || err != nil {
		t.Errorf("guessed %d, %v", v, err)
	}
	if err := os.Truncate(s.EnvDir(bad.EnvID, "record.json"), 20); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var lost []string
		err := s.SealRecords(func(*Record) (digest.Digest, error) { return digest.FromString("host"), nil }, func(p string) { lost = append(lost, p) })
		if err != nil || len(lost) != 1 || !strings.Contains(lost[0], string(bad.EnvID)) {
			t.Errorf("lost %v, %v", lost, err)
		}
	}
	got, err := s.Record(good.EnvID)
	if err != nil || got.Name != "good" || got.HostLayer != digest.FromString("host") {
		t.Errorf("%+v, %v", got, err)
	}
	if v, err := s.GuessVersion(); v != Version || err != nil {
		t.Errorf("guessed %d, %v", v, err)
	}
}

// No bit of a sealed file can change without being noticed.
func TestSeal(t *testing.T) {
	b, err := Seal(map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]string
	if err := Unseal(b, &v); err != nil || v["a"] != "b" {
		t.Errorf("%v, %v", v, err)
	}
	for i := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if err := Unseal(bad, &v); !errors.Is(err, ErrSeal) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range b {
		if err := Unseal(b[:n], &v); !errors.Is(err, ErrSeal) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := Seal(struct{}{}); err == nil {
		t.Error("an object without members was sealed")
	}
}
