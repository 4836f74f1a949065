package rootview

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := cutLink(content); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func cutLink(s string) (string, bool) {
	if len(s) > 3 && s[:3] == "-> " {
		return s[3:], true
	}
	return "", false
}

// Names resolve as they would in the mounted root, and never outside the layers.
func TestOpen(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "host"})
	base := tree(t, map[string]string{
		"etc/passwd": "base", "usr/lib/os-release": "os", "etc/os-release": "-> ../usr/lib/os-release",
		"bin": "-> usr/bin", "usr/bin/sh": "sh", "abs": "-> /etc/passwd", "up": "-> ../../../../etc/passwd",
		"leak": "-> " + outside + "/secret", "loop": "-> loop", "hidden/a": "a", "plain": "file",
	})
	upper := tree(t, map[string]string{"etc/group": "upper", "hidden/b": "b", "evil": "-> " + outside})
	if err := unix.Setxattr(filepath.Join(upper, "hidden"), "user.overlay.opaque", []byte("y"), 0); err != nil {
		t.Fatalf("this file system keeps no user xattrs: %v", err)
	}
	v := New(upper, base)
	for name, want := range map[string]string{
		"/etc/passwd": "base", "etc/group": "upper", "/etc/os-release": "os", "/bin/sh": "sh", "/abs": "base",
		"/up": "base", "/../../etc/passwd": "base", "/hidden/b": "b",
	} {
		f, err := v.Open(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := io.ReadAll(f)
		f.Close()
		if string(b) != want {
			t.Errorf("%s holds %q, want %q", name, b, want)
		}
	}
	for name, want := range map[string]error{
		"/nothing": fs.ErrNotExist, "/hidden/a": fs.ErrNotExist, "/leak": fs.ErrNotExist, "/evil/secret": fs.ErrNotExist,
		"/loop": unix.ELOOP, "/plain/x": unix.ENOTDIR,
	} {
		if f, err := v.Open(name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, %v; want %v", name, f, err, want)
		}
	}
	if m, err := v.Mode("/"); err != nil || !m.IsDir() {
		t.Errorf("root: %v %v", m, err)
	}
}

// A whiteout hides what the layers below have.
func TestWhiteout(t *testing.T) {
	base := tree(t, map[string]string{"etc/motd": "hello"})
	upper := tree(t, map[string]string{"etc/x": ""})
	if err := unix.Mknod(filepath.Join(upper, "etc/motd"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err) // needs no privilege since Linux 5.8
	}
	if _, err := New(upper, base).Open("/etc/motd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed file is still there: %v", err)
	}
}
