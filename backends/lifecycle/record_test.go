package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func store(t *testing.T) (*Store, *strings.Builder) {
	warnings := new(strings.Builder)
	return &Store{Root: t.TempDir(), Warn: func(text string) { warnings.WriteString(text) }}, warnings
}

// A record that is damaged tells nothing of its container, which is forgotten for good when that is insisted on.
func TestDamagedRecord(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"empty":   func(file string) error { return os.WriteFile(file, nil, 0o600) },
		"zeros":   func(file string) error { return os.WriteFile(file, make([]byte, 300), 0o600) },
		"link":    func(file string) error { return os.Symlink("nowhere", file) },
		"too big": func(file string) error { return os.WriteFile(file, make([]byte, maxDocument+1), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s, warnings := store(t)
			c, err := s.make("box")
			if err != nil {
				t.Fatal(err)
			}
			c.close()
			if err := damage(filepath.Join(s.path("box"), recordName)); err != nil {
				t.Fatal(err)
			}
			before := descriptors(t)
			if _, err := s.State("box"); err == nil {
				t.Error("it has a state")
			}
			if err := s.Delete(t.Context(), "box", false); err == nil || !strings.Contains(err.Error(), "delete --force box") {
				t.Errorf("deleted without force: %v", err)
			}
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors are open, and were %d", now, before)
			}
			if err := s.Delete(t.Context(), "box", true); err != nil || !strings.Contains(warnings.String(), recordName) {
				t.Errorf("delete by force: %v, warnings %q", err, warnings)
			}
			if _, err := os.Lstat(s.path("box")); !os.IsNotExist(err) {
				t.Errorf("it is there: %v", err)
			}
		})
	}
}

func descriptors(t *testing.T) int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Whoever asks for the status of a container that it has locked keeps the lock.
func TestStatusKeepsLock(t *testing.T) {
	s, _ := store(t)
	creating, err := s.make("box")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := s.State("box"); err != nil || info.Status != rspec.StateCreating {
		t.Errorf("locked, it is %+v, %v", info, err)
	}
	if err := creating.save(recordName, new(record)); err != nil {
		t.Fatal(err)
	}
	creating.close()
	c, err := s.openLocked("box")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if status := c.status(); status != rspec.StateStopped {
		t.Errorf("its creator is gone, and it is %s", status)
	}
	other, err := s.open("box")
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if err := unix.Flock(other.dir, unix.LOCK_SH|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("another one locks it too: %v", err)
	}
}
