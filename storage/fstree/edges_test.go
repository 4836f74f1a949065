package fstree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// What file systems can hold is kept, and the same after a way through the archive, or it is refused by name. Nothing
// is lost silently.
func TestEdges(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		for _, c := range edges() {
			t.Run(c.name, func(t *testing.T) {
				dir := t.TempDir()
				if err := c.make(dir); err != nil {
					if c.refused == "" {
						t.Fatal(err)
					}
					t.Skipf("cannot be made here: %v", err)
				}
				err := Normalise(context.Background(), dir, NormaliseOptions{Epoch: epoch})
				var tar bytes.Buffer
				if err == nil {
					_, _, err = WriteTar(context.Background(), &tar, dir)
				}
				if c.refused != "" {
					if err == nil || !strings.Contains(err.Error(), c.refused) {
						t.Fatalf("error %v, want one about %q", err, c.refused)
					}
					return
				}
				check(t, err)
				kept := list(t, dir)
				if !slices.Contains(kept, c.kept) {
					t.Errorf("kept is %q, want %q in it", kept, c.kept)
				}
				again := t.TempDir()
				mustUnpack(t, again, tar.Bytes(), UnpackOptions{})
				wantList(t, again, kept...)
			})
		}
	})
}

type edge struct {
	name          string
	make          func(dir string) error
	kept, refused string
}

func edges() []edge {
	file := func(name, body string, then func(path string) error) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
				return err
			}
			return then(path)
		}
	}
	mode := func(m uint32) func(string) error { return func(path string) error { return unix.Chmod(path, m) } }
	set := func(name, value string) func(string) error {
		return func(path string) error { return unix.Setxattr(path, name, []byte(value), 0) }
	}
	deep := strings.Repeat(strings.Repeat("d", 199)+"/", 20)
	return []edge{
		{"file capability", file("f", "x", set(capabilityXattr, validCapability)), fmt.Sprintf("0 0644 0:0 f security.capability=%q \"x\"", validCapability), ""},
		{"access control list", file("f", "x", set(aclAccess, userSeven)), fmt.Sprintf("0 0644 0:0 f system.posix_acl_access=%q \"x\"", userSeven), ""},
		{"user attribute", file("f", "x", set("user.note", "a=b\nc\x00d")), `0 0644 0:0 f user.note="a=b\nc\x00d" "x"`, ""},
		{"hard link", file("a", "x", func(path string) error { return os.Link(path, path+"b") }), "1 0644 0:0 ab -> a", ""},
		{"sparse file", file("f", "x", func(path string) error { return os.Truncate(path, 64<<20) }), `0 0644 0:0 f "x` + strings.Repeat(`\x00`, 19) + `"`, ""},
		{"name that is not UTF-8", file("\xff\xfe", "x", func(string) error { return nil }), "0 0644 0:0 \xff\xfe \"x\"", ""},
		{"name with line breaks and escapes", file("a\n\x1b[31m", "x", func(string) error { return nil }), "0 0644 0:0 a\n\x1b[31m \"x\"", ""},
		{"mode 000", file("f", "x", mode(0)), `0 0000 0:0 f "x"`, ""},
		{"setuid", file("f", "x", mode(0o4755)), `0 4755 0:0 f "x"`, ""},
		{"setgid directory", func(dir string) error { return errors.Join(os.Mkdir(dir+"/d", 0o755), unix.Chmod(dir+"/d", 0o2775)) }, "5 2775 0:0 d", ""},
		{"empty directory", func(dir string) error { return os.Mkdir(dir+"/d", 0o700) }, "5 0700 0:0 d", ""},
		{"link to nothing", func(dir string) error { return os.Symlink("../../nowhere", dir+"/l") }, "2 0777 0:0 l -> ../../nowhere", ""},
		{"name of 255 bytes", file(strings.Repeat("n", 255), "x", func(string) error { return nil }), "0 0644 0:0 " + strings.Repeat("n", 255) + ` "x"`, ""},
		{"path of 4,000 bytes", inDeep(deep), "0 0644 0:0 " + deep + `f ""`, ""},
		{"path of 4,100 bytes", inDeep(deep + strings.Repeat("e", 99) + "/"), "", "longer than 4095 bytes"},
		{"character device", func(dir string) error { return unix.Mknod(dir+"/n", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }, "", `"n": device`},
		{"block device", func(dir string) error { return unix.Mknod(dir+"/n", unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))) }, "", `"n": device`},
		{"name of a whiteout", file(".wh.x", "", func(string) error { return nil }), "", `".wh."`},
	}
}

// inDeep makes a file in directories whose path only openat can walk.
func inDeep(dirs string) func(string) error {
	return func(root string) error {
		fd, err := openTree(root)
		if err != nil {
			return err
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(dirs, "/"), "/") {
			if err := unix.Mkdirat(fd, name, 0o755); err != nil {
				return err
			}
			next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			unix.Close(fd)
			if err != nil {
				return err
			}
			fd = next
		}
		defer unix.Close(fd)
		f, err := unix.Openat(fd, "f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(f)
	}
}
