package squashfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mksquashfs makes an image of a tree, with the real program.
func mksquashfs(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.squashfs")
	cmd := exec.Command("mksquashfs", append([]string{dir, out, "-noappend", "-quiet", "-no-progress"}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the tests need squashfs-tools: %v\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree makes files of many sizes, holes, links and modes.
func tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc", "usr/bin", "empty", "many"} {
		check(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	noise := func(n int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < n; i++ {
			sum := sha256.Sum256(fmt.Append(nil, n, i))
			b.Write(sum[:])
		}
		return b.Bytes()[:n]
	}
	for _, n := range []int{0, 1, 4095, 4096, 4097, 131071, 131072, 131073, 400_000, 1 << 20} {
		check(os.WriteFile(filepath.Join(dir, "etc", fmt.Sprintf("noise-%d", n)), noise(n), 0o640))
		check(os.WriteFile(filepath.Join(dir, "usr", fmt.Sprintf("text-%d", n)), bytes.Repeat([]byte("a"), n), 0o644))
	}
	for i := range 700 {
		check(os.WriteFile(filepath.Join(dir, "many", fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i%200))), fmt.Append(nil, i), 0o600))
	}
	check(os.WriteFile(filepath.Join(dir, "hole"), nil, 0o644))
	check(os.Truncate(filepath.Join(dir, "hole"), 700_001))
	check(os.Link(filepath.Join(dir, "hole"), filepath.Join(dir, "hole-again")))
	check(os.Link(filepath.Join(dir, "etc/noise-4097"), filepath.Join(dir, "usr/again")))
	check(os.Symlink("../etc/noise-1", filepath.Join(dir, "usr/link")))
	check(os.Chmod(filepath.Join(dir, "usr/text-1"), 0o4755|os.ModeSetuid))
	check(os.Chtimes(filepath.Join(dir, "usr/text-1"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	return dir
}

// entries reads a tar into lines that tell everything about each entry.
func entries(t *testing.T, b []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("%c %o %d:%d %d %q %d %x %d:%d %v", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Linkname, n, sum.Sum(nil)[:4], h.Devmajor, h.Devminor, attributes(h))
	}
}

func attributes(h *tar.Header) (out []string) {
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			out = append(out, fmt.Sprintf("%s=%x", name, v))
		}
	}
	slices.Sort(out)
	return out
}

// expected reads the tree itself.
func expected(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		var body []byte
		switch {
		case d.IsDir():
			name += "/"
		case d.Type() == os.ModeSymlink:
			h.Linkname, _ = os.Readlink(path)
		case name == "hole-again", name == "usr/again":
			h.Typeflag, h.Linkname, h.ModTime = tar.TypeLink, map[string]string{"hole-again": "hole", "usr/again": "etc/noise-4097"}[name], info.ModTime()
		default:
			if body, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(body)
		out[name] = fmt.Sprintf("%c %o %d:%d %d %q %d %x %d:%d %v", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Linkname, len(body), sum[:4], 0, 0, []string(nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func convert(b []byte) ([]byte, error) {
	var out bytes.Buffer
	err := WriteTar(context.Background(), &out, bytes.NewReader(b), int64(len(b)))
	return out.Bytes(), err
}

// Whatever mksquashfs is told, the tar has what the tree has.
func TestTree(t *testing.T) {
	dir := tree(t)
	want := expected(t, dir)
	for _, args := range [][]string{
		{"-comp", "gzip"}, {"-comp", "xz"}, {"-comp", "zstd"}, {"-comp", "xz", "-b", "1M", "-Xbcj", "x86"}, {"-b", "4K"}, {"-no-fragments"},
		{"-always-use-fragments"}, {"-noI", "-noD", "-noF", "-noX"}, {"-no-exports", "-no-xattrs", "-no-duplicates"}, {"-comp", "zstd", "-Xcompression-level", "22", "-b", "1M"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			b, err := convert(mksquashfs(t, dir, args...))
			if err != nil {
				t.Fatal(err)
			}
			got := entries(t, b)
			if len(got) != len(want) {
				t.Errorf("%d entries, want %d", len(got), len(want))
			}
			for name, w := range want {
				if got[name] != w {
					t.Errorf("%s:\n  %s, want\n  %s", name, got[name], w)
				}
			}
		})
	}
}

// Attributes, owners and devices, made by mksquashfs itself so that no privilege is needed.
func TestSpecial(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	pseudo := filepath.Join(t.TempDir(), "pseudo")
	text := "disk b 660 0 6 8 300\ntty c 620 1234567 5 4 1\nfifo i 600 1 2 f\nsocket i 600 1 2 s\n"
	if err := os.WriteFile(pseudo, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := convert(mksquashfs(t, dir, "-pf", pseudo))
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, b)
	for name, want := range map[string]string{
		"disk": "4 660 0:6 ", "tty": "3 620 1234567:5 ", "fifo": "6 600 1:2 ", "plain": "0 644 ",
	} {
		if !strings.HasPrefix(got[name], want) {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	if !strings.Contains(got["disk"], " 8:300 ") || !strings.Contains(got["tty"], " 4:1 ") {
		t.Errorf("devices: %q, %q", got["disk"], got["tty"])
	}
	if _, ok := got["socket"]; ok || len(got) != 4 {
		t.Errorf("%d entries: %v", len(got), got)
	}
}

// Extended attributes of files and directories, one value shared by many.
func TestXattrs(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "squashfs-test-") // a file system that has them
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	shared := bytes.Repeat([]byte{0, 'v', 0xff}, 500)
	want := map[string]string{}
	for i := range 600 {
		name := fmt.Sprintf("f%d", i)
		if i%3 == 0 {
			err = os.Mkdir(filepath.Join(dir, name), 0o755)
		} else {
			err = os.WriteFile(filepath.Join(dir, name), nil, 0o644)
		}
		own := fmt.Append(nil, i)
		for k, v := range map[string][]byte{"user.own": own, "user.shared": shared} {
			if err == nil {
				err = unix.Setxattr(filepath.Join(dir, name), k, v, 0)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			name += "/"
		}
		want[name] = fmt.Sprintf("[user.own=%x user.shared=%x]", own, shared)
	}
	for _, args := range [][]string{{"-noX"}, {"-comp", "zstd"}} {
		b, err := convert(mksquashfs(t, dir, args...))
		if err != nil {
			t.Fatal(err)
		}
		got := entries(t, b)
		for name, w := range want {
			if !strings.HasSuffix(got[name], w) {
				t.Fatalf("%v: %s is %.200s", args, name, got[name])
			}
		}
	}
}

// Every image that is cut, flipped or nonsense gives an error or a tar, in bounded time, and never a panic.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), bytes.Repeat([]byte{byte(i)}, i*300), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole := mksquashfs(t, dir, "-comp", "gzip", "-noI")
	discard := func(b []byte) error { return WriteTar(t.Context(), io.Discard, bytes.NewReader(b), int64(len(b))) }
	used := len(bytes.TrimRight(whole, "\x00"))
	for cut := 0; cut < used; cut += 37 {
		if err := discard(whole[:cut]); err == nil {
			t.Fatalf("cut at %d of %d: no error", cut, used)
		}
	}
	for at := 0; at < used; at++ {
		for _, v := range []byte{0, 0xff, whole[at] ^ 1} {
			b := bytes.Clone(whole)
			b[at] = v
			discard(b)
		}
	}
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"magic":       {func(b []byte) []byte { b[0] = 'x'; return b }, "no squashfs"},
		"version":     {func(b []byte) []byte { b[28] = 3; return b }, "version 3.0"},
		"block size":  {func(b []byte) []byte { b[14] = 0xff; return b }, "no size of a block"},
		"compression": {func(b []byte) []byte { b[20] = 3; return b }, "lzo is not supported"},
		"empty":       {func([]byte) []byte { return nil }, "cut short"},
	} {
		if _, err := convert(c.change(bytes.Clone(whole))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that is nothing but a hole of many megabytes is a bomb.
func TestBomb(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "hole")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 200<<20); err != nil {
		t.Fatal(err)
	}
	b := mksquashfs(t, dir)
	if err := WriteTar(t.Context(), io.Discard, bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "200 times its size") {
		t.Errorf("%v", err)
	}
}

func FuzzWriteTar(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte("ab"), 5000), 0o644); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "b")); err != nil {
		f.Fatal(err)
	}
	f.Add(mksquashfs(f, dir, "-noI", "-noX", "-comp", "gzip"))
	f.Add(mksquashfs(f, dir, "-comp", "xz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := WriteTar(t.Context(), io.Discard, bytes.NewReader(b), int64(len(b))); err != nil && !strings.HasPrefix(err.Error(), "read squashfs: ") {
			t.Error(err)
		}
	})
}
