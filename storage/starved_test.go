package storage

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/karapace/karapace/manifest"
)

// A record that cannot be read for want of descriptors is not damaged, and its name is not free.
func TestRecordStarved(t *testing.T) {
	s := newStore(t)
	id := manifest.EnvID("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	if err := os.MkdirAll(s.EnvDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.EnvDir(id, recordName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.LinkName("held", id); err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Record(id)
	free := s.NameFree("held", "")
	_, found := s.Find("held")
	if again := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); again != nil {
		t.Fatal(again)
	}
	var damaged *Error
	if !Starved(err) || errors.As(err, &damaged) {
		t.Errorf("%v", err)
	}
	if !Starved(free) || !Starved(found) {
		t.Errorf("its name: %v, %v", free, found)
	}
	if _, err := s.Record(id); !errors.As(err, &damaged) {
		t.Errorf("an empty one: %v", err)
	}
}
