package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is emptied with more than the user's rights is the user's own, and no link to it.
func TestOpenOwn(t *testing.T) {
	dir := t.TempDir()
	own, link, theirs := filepath.Join(dir, "own"), filepath.Join(dir, "link"), "/"
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		theirs = filepath.Join(dir, "theirs")
		if err := os.Mkdir(theirs, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(theirs, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openOwn(own)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := openOwn(link); err == nil {
		t.Error("a link is followed")
	}
	if _, err := openOwn(theirs); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("somebody else's: %v", err)
	}
}
