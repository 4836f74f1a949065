package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// A lock file of containers/storage that cannot be opened, at which it panics, is an error.
func TestLockFileLost(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		adopt(t, s, "one", "")
		lock := filepath.Join(s.graphRoot(), "overlay-layers", "layers.lock")
		check(t, os.Remove(lock))
		check(t, os.Mkdir(lock, 0o700))
		if _, err := s.Sweep(context.Background(), false); !errors.Is(err, unix.EISDIR) {
			t.Errorf("with a lock file that is a directory: %v", err)
		}
		if _, err := s.Images(); !errors.Is(err, unix.EISDIR) {
			t.Errorf("and again: %v", err)
		}
	})
}
