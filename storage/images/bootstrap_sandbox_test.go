package images_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest/distro"
)

// testSandbox runs commands in a root file system as the real one does, by means of unshare(1) and as real root.
type testSandbox struct {
	root, shared string
	env          []string
}

var _ distro.Sandbox = (*testSandbox)(nil)

func newTestSandbox(t *testing.T, root string, sde int64) *testSandbox {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running packages' scripts in a bare root file system needs root here; the rootless way is tested with the engine")
	}
	env, err := distro.BuildEnv(distro.BuildEnvironment, sde)
	if err != nil {
		t.Fatal(err)
	}
	return &testSandbox{root: root, shared: t.TempDir(), env: env}
}

func (s *testSandbox) Shared() string { return s.shared }

const enterScript = `set -e
root=$1 shared=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/karapace" "$root/run/lock"
mount --bind "$shared" "$root/run/karapace"
mount -t tmpfs tmpfs "$root/dev"
for d in null zero full random urandom tty; do : >"$root/dev/$d"; mount --bind /dev/$d "$root/dev/$d"; done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
hostname localhost
umask 022
cd "$root"
exec chroot . /usr/bin/env -i "$@"`

func (s *testSandbox) Run(ctx context.Context, c distro.Command) error {
	argv := []string{"--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", enterScript, "sh", s.root, s.shared}
	argv = slices.Concat(argv, s.env, c.Env, c.Argv)
	cmd := exec.CommandContext(ctx, "unshare", argv...)
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Argv, " "), err, all.String()[max(0, all.Len()-8000):])
	}
	return nil
}

func (s *testSandbox) open(name string, flags uint64) (*os.File, error) {
	dir, err := os.Open(s.root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), strings.TrimPrefix(name, "/"), &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (s *testSandbox) Open(name string) (io.ReadCloser, error) {
	f, err := s.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s *testSandbox) ReadDir(name string) ([]string, error) {
	d, err := s.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// overlay mounts an empty layer over a base and returns the merged root and the layer.
func overlay(t *testing.T, base string) (root, upper string) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, upper = filepath.Join(dir, "root"), filepath.Join(dir, "upper")
	options := "lowerdir=" + base + ",upperdir=" + upper + ",workdir=" + filepath.Join(dir, "work") +
		",redirect_dir=off,metacopy=off,index=off,xino=off,volatile"
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return root, upper
}
