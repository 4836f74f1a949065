package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// A squashfs becomes the tree it was made of, with capabilities and hard links, and its digest is that of the file.
func TestSquashfs(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		from, _, err := unpack(t, save(t, pack(t, "etc/", "etc/os-release=ID=x", "usr/", "usr/bin/", "usr/bin/ping=program", "bin=-> usr/bin")), "amd64")
		check(t, err)
		ping := filepath.Join(from, "usr/bin/ping")
		capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // capabilities(7): version 2, CAP_NET_RAW
		check(t, unix.Setxattr(ping, "security.capability", []byte(capability), 0))
		check(t, os.Link(ping, filepath.Join(from, "usr/bin/ping4")))
		check(t, os.Chtimes(ping, time.Unix(5000, 0), time.Unix(5000, 0)))
		check(t, os.Chtimes(filepath.Join(from, "etc/os-release"), time.Unix(6000, 0), time.Unix(6000, 0)))
		path := filepath.Join(t.TempDir(), "base.squashfs")
		if out, err := exec.Command("mksquashfs", from, path, "-quiet", "-no-progress", "-comp", "xz").CombinedOutput(); err != nil {
			t.Fatalf("the tests need squashfs-tools: %v\n%s", err, out)
		}
		root, base, err := unpack(t, path, "amd64")
		check(t, err)
		if got, want := tree(t, root), tree(t, from); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		b, err := os.ReadFile(path)
		check(t, err)
		if base.Digest != digest.FromBytes(b) || base.Newest < 6000 {
			t.Errorf("%+v", base)
		}
		value := make([]byte, 64)
		n, err := unix.Lgetxattr(filepath.Join(root, "usr/bin/ping4"), "security.capability", value)
		if err != nil || string(value[:n]) != capability {
			t.Errorf("capability %q, %v", value[:max(n, 0)], err)
		}
		var one, two unix.Stat_t
		check(t, unix.Lstat(filepath.Join(root, "usr/bin/ping"), &one))
		check(t, unix.Lstat(filepath.Join(root, "usr/bin/ping4"), &two))
		if one.Ino != two.Ino || one.Mtim.Sec != 5000 {
			t.Errorf("inodes %d and %d, time %d", one.Ino, two.Ino, one.Mtim.Sec)
		}
	})
}
