package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack makes a tar of files: a name that ends in "/" is a directory, a content that begins with "-> " a link.
func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1000, 0)}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
		} else if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		check(t, w.WriteHeader(h))
		_, err := w.Write([]byte(content))
		check(t, err)
	}
	check(t, w.Close())
	return buf.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(b)
	check(t, err)
	check(t, w.Close())
	return buf.Bytes()
}

func save(t testing.TB, b []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "base.tar")
	check(t, os.WriteFile(path, b, 0o644))
	return path
}

// unpack opens path and unpacks it; the digest must be the one that was promised.
func unpack(t testing.TB, path, arch string) (root string, b *Base, err error) {
	t.Helper()
	src, err := Open(path)
	if err != nil {
		return "", nil, err
	}
	root = t.TempDir()
	b, err = src.Unpack(context.Background(), root, arch)
	if err != nil {
		return root, nil, err
	}
	d, err := src.Digest(context.Background())
	check(t, err)
	if d != b.Digest {
		t.Errorf("digest %s, unpacked %s", d, b.Digest)
	}
	return root, b, nil
}

// tree lists the paths in root, files with their content.
func tree(t testing.TB, root string) (paths []string) {
	t.Helper()
	check(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel += "=" + string(b)
		}
		paths = append(paths, rel)
		return nil
	}))
	return paths
}

func TestArchive(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		plain := []string{"etc/", "etc/os-release=ID=x", "usr/", "usr/bin/"}
		for name, c := range map[string]struct {
			files []string
			want  []string
		}{
			"plain":         {plain, []string{"etc", "etc/os-release=ID=x", "usr", "usr/bin"}},
			"with dots":     {[]string{"./", "./etc/", "./bin=-> usr/bin"}, []string{"bin", "etc"}},
			"one directory": {[]string{"root/", "root/etc/", "root/usr/", "root/root/", "root/root/x=x"}, []string{"etc", "root", "root/x=x", "usr"}},
			"parents made":  {[]string{"etc/x=1", "usr/y=2"}, []string{"etc", "etc/x=1", "usr", "usr/y=2"}},
		} {
			for _, b := range [][]byte{pack(t, c.files...), gz(t, pack(t, c.files...))} {
				path := save(t, b)
				root, base, err := unpack(t, path, "amd64")
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if got := tree(t, root); !slices.Equal(got, c.want) {
					t.Errorf("%s: %q, want %q", name, got, c.want)
				}
				if want := digest.NewDigestFromBytes(digest.SHA256, sum(b)); base.Digest != want || base.Newest != 1000 && name != "one" || base.Env != nil {
					t.Errorf("%s: %+v", name, base)
				}
			}
		}
	})
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func TestArchiveRefused(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			data []byte
			want string
		}{
			"no system":        {pack(t, "a=1", "b/"), `only directory there; at its top are "a", "b"`},
			"nothing":          {pack(t), "it holds nothing"},
			"two directories":  {pack(t, "root/etc/", "root/usr/", "other/"), "no root file system"},
			"etc is a link":    {pack(t, "etc=-> /etc", "usr/"), "no root file system"},
			"no archive":       {[]byte(strings.Repeat("text\n", 300)), "read tar"},
			"empty":            {nil, "cut short"},
			"cut":              {pack(t, "etc/", "usr/")[:1024], "cut short"},
			"climbing":         {pack(t, "etc/", "usr/", "../x=1"), `entry "../x": the name holds ".."`},
			"compressed image": {gz(t, pack(t, "manifest.json=[]")), "it holds 0 images"},
			"squashfs":         {[]byte("hsqs and more"), "the image is cut short"},
			"bzip2":            {[]byte("BZh91AY&SY"), "bzip2 is not supported"},
		} {
			path := save(t, c.data)
			_, _, err := unpack(t, path, "amd64")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	check(t, unix.Mkfifo(dir+"/fifo", 0o644))
	for path, want := range map[string]string{dir: "no OCI layout", dir + "/fifo": "neither a file nor a directory", "/dev/zero": "neither a file nor a directory"} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if _, err := Open(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
