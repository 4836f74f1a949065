package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree/nstest"
)

// When something fails while containers/storage tries the kernel's overlay, it does not take fuse-overlayfs for ever after.
func TestFailedOnce(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		bin := t.TempDir()
		check(t, os.WriteFile(bin+"/fuse-overlayfs", []byte("#!/bin/sh\nexit 1\n"), 0o755))
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		root := filepath.Join(t.TempDir(), "store")
		_, err := storage.Create(root)
		check(t, err)
		s := reopen(t, root)
		check(t, os.MkdirAll(s.graphRoot()+"/run/overlay/overlay-true", 0o700)) // so that the answer cannot be written
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		check(t, err)
		check(t, os.WriteFile(s.graphRoot()+"/run/boot-id", boot, 0o600))
		if _, err := s.open(); err == nil {
			t.Fatal("the answer was written")
		}
		if taken, err := s.mountProgram(); taken || err != nil {
			t.Errorf("fuse-overlayfs is taken: %v, %v", taken, err)
		}
		check(t, os.Remove(s.graphRoot()+"/run/overlay/overlay-true"))
		adopt(t, reopen(t, root), "base", "")
		if have := os.Getenv("PATH"); !strings.HasPrefix(have, bin+":") {
			t.Errorf("PATH is %q now", have)
		}
	})
}

// A store may have any name: one with what separates the options of a mount, or one so long that no four of them are options.
func TestNameOfStore(t *testing.T) {
	for _, name := range []string{`a:b,c\d`, strings.Repeat(strings.Repeat("x", 200)+"/", 5)} {
		t.Run(name[:3], func(t *testing.T) { nameOfStore(t, name) })
	}
}

func nameOfStore(t *testing.T, name string) {
	nstest.Both(t, func(t *testing.T) {
		t.Setenv("PATH", "")
		root := filepath.Join(t.TempDir(), name)
		check(t, os.MkdirAll(filepath.Dir(root), 0o700))
		_, err := storage.Create(root)
		check(t, err)
		base := adopt(t, reopen(t, root), "base", "")
		s := reopen(t, root)
		top := adopt(t, s, "top", base.DiffID)
		check(t, s.Delete(context.Background(), top.DiffID))
		check(t, s.Verify(context.Background(), base))
		if err := s.kernelOverlay(); err != nil {
			t.Error(err)
		}
	})
}

// After a boot the notes of containers/storage about the kernel are forgotten.
func TestFreshRun(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		s := newStore(t)
		base := adopt(t, s, "base", "")
		run := s.graphRoot() + "/run"
		check(t, os.WriteFile(run+"/boot-id", []byte("another"), 0o600))
		check(t, os.WriteFile(run+"/overlay/overlay-false", []byte("it was so"), 0o600))
		check(t, freshRun(s.graphRoot(), run, nil))
		if _, err := os.Stat(run + "/overlay/overlay-false"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the note stays: %v", err)
		}
		check(t, os.Mkdir(run+"/overlay", 0o700))
		check(t, os.WriteFile(run+"/overlay/overlay-false", []byte("it was so"), 0o600))
		check(t, os.WriteFile(run+"/note", nil, 0o600))
		check(t, freshRun(s.graphRoot(), run, nil))
		if _, err := os.Stat(run + "/note"); err != nil {
			t.Errorf("emptied twice in one boot: %v", err)
		}
		if _, err := os.Stat(run + "/overlay/overlay-false"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what failed once does so until the next boot: %v", err)
		}
		check(t, s.Verify(context.Background(), base))
	})
}
