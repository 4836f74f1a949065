package fstree

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel gives up on a name that leads up when anything is renamed meanwhile.
func TestOpenat2BesideRenames(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"etc", "usr/lib"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib/os-release"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	dir, err := openTree(root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
		os.Mkdir(a, 0o755)
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(a, b)
				os.Rename(b, a)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for i := range 20000 {
		fd, err := Openat2(dir, "etc/os-release", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		unix.Close(fd)
	}
}
