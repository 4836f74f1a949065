package nsproc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

func TestOverlayOptions(t *testing.T) {
	for _, c := range []struct {
		name    string
		fs      backends.Rootfs
		initial bool
		dir     string
		options string
	}{
		{"rootless", backends.Rootfs{Lower: []string{"/s/l/b", "/s/l/a"}, Upper: "/s/e/upper", Work: "/s/e/work"}, false,
			"/s", "lowerdir=l/b:l/a,upperdir=e/upper,workdir=e/work,index=off,xino=off,userxattr"},
		{"root", backends.Rootfs{Lower: []string{"/s/a", "/s/b"}, Upper: "/s/u", Work: "/s/w", Volatile: true}, true,
			"/s", "lowerdir=a:b,upperdir=u,workdir=w,index=off,xino=off,redirect_dir=off,metacopy=off,volatile"},
		{"read-only", backends.Rootfs{Lower: []string{"/a/x", "/ab/y"}, Volatile: true}, false, "/", "lowerdir=a/x:ab/y,index=off,xino=off,userxattr"},
		{"one directory above another", backends.Rootfs{Lower: []string{"/s/a", "/s"}}, false, "/", "lowerdir=s/a:s,index=off,xino=off,userxattr"},
		{"escaped", backends.Rootfs{Lower: []string{`/s/a:b`, `/s/c,d\e`}}, false, "/s", `lowerdir=a\:b:c\,d\\e,index=off,xino=off,userxattr`},
	} {
		dir, options, err := overlay(&c.fs, c.initial)
		if err != nil || dir != c.dir || options != c.options {
			t.Errorf("%s: %q in %q, %v; want %q in %q", c.name, options, dir, err, c.options, c.dir)
		}
	}
}

// Many layers in one directory are named from there, as far as the kernel takes them.
func TestOverlayOfManyLayers(t *testing.T) {
	env := "/store/envs/" + strings.Repeat("a", 64)
	fs := backends.Rootfs{Upper: env + "/upper.401", Work: env + "/work"}
	for i := range 350 {
		fs.Lower = append(fs.Lower, fmt.Sprintf("%s/upper.%d", env, 400-i))
	}
	fs.Lower = append(fs.Lower, env+"/host", "/store/storage/l/base")
	dir, options, err := overlay(&fs, false)
	if err != nil || dir != env {
		t.Fatalf("in %q, %v", dir, err)
	}
	if !strings.HasPrefix(options, "lowerdir=upper.400:upper.399:") || !strings.Contains(options, ":host:../../storage/l/base,upperdir=upper.401,workdir=work,") {
		t.Errorf("options %s", options)
	}
	for i := range maxLowers {
		fs.Lower = append(fs.Lower, fmt.Sprintf("%s/u%d", env, i))
	}
	if _, _, err := overlay(&fs, false); err == nil {
		t.Errorf("%d layers were taken", len(fs.Lower))
	}
}

func TestOverlayRefused(t *testing.T) {
	long := backends.Rootfs{}
	for i := range 200 {
		long.Lower = append(long.Lower, fmt.Sprintf("/store/%d/a-directory-with-a-long-name", i))
	}
	for want, fs := range map[string]backends.Rootfs{
		"no layers":       {},
		"200 layers need": long,
		`"rel" is not an`: {Lower: []string{"rel", "/a"}},
	} {
		if _, _, err := overlay(&fs, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// lookupIn runs Target on a directory and says what it gives.
func lookupIn(t *testing.T, dir, name string, isDir bool) error {
	t.Helper()
	p := new(rawproc.Program)
	root := p.Reg()
	p.Call("open root", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(dir), rawproc.Int(unix.O_PATH|unix.O_DIRECTORY), rawproc.Int(0)).Into(root)
	Target(p, root, name, name, isDir, Beneath)
	pid, err := p.Run(0)
	if err == nil {
		_, err = rawproc.Wait(pid)
	}
	return err
}

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(dir, "out")),
		os.Symlink("real", filepath.Join(dir, "in")),
		os.Symlink(outside+"/none", filepath.Join(dir, "dangling")),
		os.Mkdir(filepath.Join(dir, "real"), 0o755),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		isDir bool
		want  string // "" is success
	}{
		{"/", true, ""},
		{"/real", true, ""},
		{"/made/on/the/way", true, ""},
		{"/made/on/the/way", true, ""},
		{"/made/file", false, ""},
		{"/real/../made/file", false, ""},
		{"/../../up", true, ""},
		{"/file", false, ""},
		{"/file", true, "open mount target /file: not a directory"},
		{"/file/below", true, "open mount target /file/below: not a directory"},
		{"/out", true, "open mount target /out: too many levels of symbolic links"},
		{"/out/new", true, "open mount target /out/new: too many levels of symbolic links"},
		{"/out/new", false, "open mount target /out/new: too many levels of symbolic links"},
		{"/in/new", true, "open mount target /in/new: too many levels of symbolic links"},
		{"/dangling", true, "open mount target /dangling: too many levels of symbolic links"},
		{"/dangling", false, "open mount target /dangling: too many levels of symbolic links"},
	} {
		err := lookupIn(t, dir, c.name, c.isDir)
		if got := fmt.Sprint(err); got != c.want && (c.want != "" || err != nil) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside has %v, %v", entries, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "made/file")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the file target is %v, %v", st, err)
	}
}
