package fstree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

const epoch = 1_500_000_000

// overlay runs a script in an overlay over lower and returns its upper directory.
func overlay(t *testing.T, script string, lower ...string) string {
	t.Helper()
	top := t.TempDir()
	upper, work, merged := mkdir(t, top, "upper"), mkdir(t, top, "work"), mkdir(t, top, "merged")
	opts := "volatile,redirect_dir=off,metacopy=off,index=off,xino=off"
	if inUserNamespace() {
		opts = "volatile,userxattr"
	}
	opts += fmt.Sprintf(",lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), upper, work)
	if err := unix.Mount("overlay", merged, "overlay", 0, opts); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	runIn(t, merged, script)
	check(t, unix.Unmount(merged, 0))
	return upper
}

func runIn(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-euc", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// lowerTree is a small base, normalised.
func lowerTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	runIn(t, dir, `
mkdir -p etc usr/bin usr/share/doc/one usr/share/doc/two empty var/log run
echo root > etc/passwd; echo host > etc/hostname; echo conf > etc/conf
echo a > usr/bin/a; ln usr/bin/a usr/bin/b; chmod 755 usr/bin/a; ln -s a usr/bin/c
echo x > usr/share/doc/one/x; echo y > usr/share/doc/one/y; echo z > usr/share/doc/two/z
echo log > var/log/old`)
	mustNormalise(t, dir, NormaliseOptions{Epoch: epoch - 1000})
	return dir
}

func normaliseCases() []struct {
	name, script string
	want         []string
} {
	const usr, bin, share, doc = "5 0755 0:0 usr", "5 0755 0:0 usr/bin", "5 0755 0:0 usr/share", "5 0755 0:0 usr/share/doc"
	const etc, one = "5 0755 0:0 etc", "5 0755 0:0 usr/share/doc/one"
	return []struct {
		name, script string
		want         []string
	}{
		{"nothing", `true`, nil},
		{"new file", `echo new > etc/new`, []string{etc, `0 0644 0:0 etc/new "new\n"`}},
		{"new file made and removed", `echo new > etc/new; rm etc/new`, nil},
		{"directory made and removed", `mkdir d; echo x > d/x; rm -r d`, nil},
		{"changed file", `echo other > etc/conf`, []string{etc, `0 0644 0:0 etc/conf "other\n"`}},
		{"rewritten the same", `cp etc/conf t; mv t etc/conf`, nil},
		{"touched", `touch etc/conf usr/bin etc`, nil},
		{"mode of a file", `chmod 4711 etc/conf`, []string{etc, `0 4711 0:0 etc/conf "conf\n"`}},
		{"mode there and back", `chmod 700 etc; chmod 755 etc`, nil},
		{"mode of a directory", `chmod 1777 empty`, []string{"5 1777 0:0 empty"}},
		{"owner of a file", `chown 7:8 etc/conf`, []string{etc, `0 0644 7:8 etc/conf "conf\n"`}},
		{"file removed", `rm etc/conf`, []string{etc, "w 0000 0:0 etc/.wh.conf"}},
		{"file removed and made the same", `rm etc/conf; echo conf > etc/conf`, nil},
		{"directory removed", `rm -r usr/share/doc/one`, []string{usr, share, doc, "w 0000 0:0 usr/share/doc/.wh.one"}},
		{"empty directory removed", `rmdir empty`, []string{"w 0000 0:0 .wh.empty"}},
		{"empty directory made anew", `rmdir empty; mkdir empty`, nil},
		{"empty directory made anew and filled", `rmdir empty; mkdir empty; echo f > empty/f`, []string{"5 0755 0:0 empty", `0 0644 0:0 empty/f "f\n"`}},
		{"directory made anew", `rm -r usr/share/doc/one; mkdir usr/share/doc/one; echo n > usr/share/doc/one/n`,
			[]string{usr, share, doc, one, "o 0000 0:0 usr/share/doc/one/.wh..wh..opq", `0 0644 0:0 usr/share/doc/one/n "n\n"`}},
		{"directory emptied by making it anew", `rm -r usr/share/doc/one; mkdir usr/share/doc/one`,
			[]string{usr, share, doc, one, "o 0000 0:0 usr/share/doc/one/.wh..wh..opq"}},
		{"file in a directory made anew that was there before", `rm -r usr/share/doc/one; mkdir usr/share/doc/one; echo x > usr/share/doc/one/x`,
			[]string{usr, share, doc, one, "o 0000 0:0 usr/share/doc/one/.wh..wh..opq", `0 0644 0:0 usr/share/doc/one/x "x\n"`}},
		{"directory becomes link", `rm -r usr/share/doc/one; ln -s two usr/share/doc/one`, []string{usr, share, doc, "2 0777 0:0 usr/share/doc/one -> two"}},
		{"file becomes directory", `rm etc/conf; mkdir etc/conf; echo i > etc/conf/i`, []string{etc, "5 0755 0:0 etc/conf", `0 0644 0:0 etc/conf/i "i\n"`}},
		{"directory moved", `mv usr/share/doc/one usr/share/doc/new`,
			[]string{usr, share, doc, "w 0000 0:0 usr/share/doc/.wh.one", "5 0755 0:0 usr/share/doc/new", `0 0644 0:0 usr/share/doc/new/x "x\n"`, `0 0644 0:0 usr/share/doc/new/y "y\n"`}},
		{"link changed", `ln -sfn b usr/bin/c`, []string{usr, bin, "2 0777 0:0 usr/bin/c -> b"}},
		{"link made the same", `rm usr/bin/c; ln -s a usr/bin/c`, nil},
		{"hard links", `echo h > h1; ln h1 h3; ln h1 h2`, []string{`0 0644 0:0 h1 "h\n"`, "1 0644 0:0 h2 -> h1", "1 0644 0:0 h3 -> h1"}},
		{"hard links made the same", `rm usr/bin/a usr/bin/b; echo a > usr/bin/b; chmod 755 usr/bin/b; ln usr/bin/b usr/bin/a`, nil},
		{"one of two hard links touched", `touch usr/bin/b`, nil},
		{"hard link to an old file", `ln etc/conf etc/conf2`, []string{etc, `0 0644 0:0 etc/conf "conf\n"`, "1 0644 0:0 etc/conf2 -> etc/conf"}},
		{"FIFO", `mkfifo f; chmod 600 f`, []string{"6 0600 0:0 f"}},
		{"names", `touch "$(printf 'a\nb')" "$(printf '\377')" -- -dash '*'`, []string{`0 0644 0:0 * ""`, `0 0644 0:0 -dash ""`, "0 0644 0:0 a\nb \"\"", "0 0644 0:0 \xff \"\""}},
		{"dropped", `echo l > var/log/new; rm var/log/old; mkdir -p var/cache/x; echo c > var/cache/x/y; touch etc/passwd-`,
			[]string{"5 0755 0:0 var", "5 0755 0:0 var/cache"}},
		{"mount points", `mkdir run/point; : > etc/resolv.conf`, nil},
		{"mount points that hold something", `mkdir run/point; echo x > run/point/x; echo n > etc/resolv.conf`,
			[]string{etc, `0 0644 0:0 etc/resolv.conf "n\n"`, "5 0755 0:0 run", "5 0755 0:0 run/point", `0 0644 0:0 run/point/x "x\n"`}},
		{"rewritten", `echo 0123 > etc/machine-id; echo other > etc/hostname`, []string{etc, `0 0644 0:0 etc/hostname "1500000000 other\n"`, `0 0644 0:0 etc/machine-id ""`}},
		{"same after rewriting", `rm etc/conf; echo 'drop conf' > etc/conf`, nil},
	}
}

func testPolicy() Policy {
	return Policy{
		Drop:      []string{"/var/log/*", "var/cache/x/", "etc/*-"},
		DropEmpty: []string{"run/point", "etc/resolv.conf"},
		Rewrites: []Rewrite{
			{"etc/machine-id", func([]byte, int64) ([]byte, error) { return nil, nil }},
			{"etc/host*", func(b []byte, epoch int64) ([]byte, error) {
				head := fmt.Sprintf("%d ", epoch)
				return append([]byte(head), bytes.TrimPrefix(b, []byte(head))...), nil
			}},
			{"**/conf", func(b []byte, _ int64) ([]byte, error) { return bytes.TrimPrefix(b, []byte("drop ")), nil }},
		},
	}
}

// What a program changes in an overlay becomes the same layer as root and inside a user namespace, on every run.
func TestNormaliseOverlay(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		for _, c := range normaliseCases() {
			t.Run(c.name, func(t *testing.T) {
				lower := lowerTree(t)
				before := state(t, lower)
				upper := overlay(t, c.script, lower)
				opts := NormaliseOptions{Epoch: epoch, Lowers: []string{lower}, Policy: testPolicy()}
				mustNormalise(t, upper, opts)
				wantList(t, upper, c.want...)
				if after := state(t, lower); after != before {
					t.Errorf("the lower tree was changed")
				}
				first := mustDigest(t, upper)
				mustNormalise(t, upper, opts)
				if again := mustDigest(t, upper); again != first {
					t.Error("normalising again gave another layer")
				}
				sameAsMounted(t, upper, lower)
			})
		}
	})
}

// sameAsMounted wants the lower tree with the layer's archive applied to be what an overlay of the two shows.
func sameAsMounted(t *testing.T, upper, lower string) {
	t.Helper()
	flat := t.TempDir()
	for _, dir := range []string{lower, upper} {
		var buf bytes.Buffer
		_, _, err := WriteTar(context.Background(), &buf, dir)
		check(t, err)
		mustUnpack(t, flat, buf.Bytes(), UnpackOptions{Layer: true})
	}
	shown := t.TempDir()
	overlayView(t, shown, upper, lower)
	got := list(t, shown)
	check(t, unix.Unmount(shown, 0))
	var want []string
	for _, line := range list(t, flat) {
		want = append(want, unlinked(line))
	}
	for i := range got {
		got[i] = unlinked(got[i])
	}
	if len(got) != len(want) {
		t.Errorf("applied\n%s\nmounted\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("applied %q, mounted %q", want[i], got[i])
		}
	}
}

func overlayView(t *testing.T, dir string, lower ...string) {
	opts := "lowerdir=" + strings.Join(lower, ":")
	if inUserNamespace() {
		opts += ",userxattr"
	}
	check(t, unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, opts))
}

// unlinked hides whether a name is a hard link: an overlay does not keep links between its layers.
func unlinked(line string) string {
	fields := strings.SplitN(line, " ", 5)
	if fields[0] == "1" || fields[0] == "0" {
		return "file " + strings.Join(fields[1:4], " ")
	}
	return line
}

// An attribute that is kept makes a copy differ; one that is not does not.
func TestNormaliseAttributes(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower, upper := lowerTree(t), mkdir(t, t.TempDir(), "upper")
		write(t, upper+"/etc/conf", "conf\n")
		write(t, upper+"/etc/hostname", "host\n")
		check(t, unix.Setxattr(upper+"/etc/conf", "user.note", []byte("x"), 0))
		for _, name := range []string{"user.containers.x", "user.Librepo.checksum"} {
			check(t, unix.Setxattr(upper+"/etc/hostname", name, []byte("x"), 0))
		}
		check(t, unix.Setxattr(mkdir(t, upper, "usr"), "user.note", []byte("d"), 0))
		mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}})
		wantList(t, upper, "5 0755 0:0 etc", `0 0644 0:0 etc/conf user.note="x" "conf\n"`, `5 0755 0:0 usr user.note="d"`)
	})
}

// With several layers below, what an upper one hides is not there.
func TestNormaliseLowerStack(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		bottom := lowerTree(t)
		middle := overlay(t, `rm -r usr/share/doc/one; mkdir usr/share/doc/one; echo m > usr/share/doc/one/m; rm etc/conf; echo v > etc/v`, bottom)
		mustNormalise(t, middle, NormaliseOptions{Epoch: epoch, Lowers: []string{bottom}})
		for script, want := range map[string][]string{
			`echo conf > etc/conf`: {"5 0755 0:0 etc", `0 0644 0:0 etc/conf "conf\n"`},
			`rm usr/share/doc/one/m`: {"5 0755 0:0 usr", "5 0755 0:0 usr/share", "5 0755 0:0 usr/share/doc", "5 0755 0:0 usr/share/doc/one",
				"w 0000 0:0 usr/share/doc/one/.wh.m"},
			`echo x > usr/share/doc/one/x; rm usr/share/doc/one/x`: nil,
			`rm etc/v; echo v > etc/v; touch etc/passwd`:           nil,
		} {
			upper := overlay(t, script, middle, bottom)
			mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{middle, bottom}})
			wantList(t, upper, want...)
		}
		// everything in the directory is hidden already: making it anew hides nothing more
		cleared := overlay(t, `rm -r usr/share/doc/one; mkdir usr/share/doc/one`, bottom)
		mustNormalise(t, cleared, NormaliseOptions{Epoch: epoch, Lowers: []string{bottom}})
		upper := overlay(t, `rmdir usr/share/doc/one; mkdir usr/share/doc/one`, cleared, bottom)
		mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{cleared, bottom}})
		wantList(t, upper)
	})
}

// The same changes give the same layer whatever the order of names in a directory, the umask, or the clock.
func TestNormaliseIndependent(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower := lowerTree(t)
		var digests []string
		for i, script := range []string{
			`umask 022; for i in $(seq 300); do echo $i > f$i; done; mkdir d; ln f1 d/l; chmod 644 f* ; chmod 755 d`,
			`umask 077; mkdir d; for i in $(seq 300 -1 1); do echo $i > f$i; done; ln f1 d/l; touch -d 2099-01-01 f7 d; chmod 644 f*; chmod 755 d`,
		} {
			upper := overlay(t, script, lower)
			mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}})
			digests = append(digests, mustDigest(t, upper))
			if i > 0 && digests[i] != digests[0] {
				t.Errorf("digests %v", digests)
			}
		}
	})
}

// What becomes of one name of a file depends on those that went before it, and not on what other processors do: the first
// has as many names as below and goes, and so does the second, which is the only one then.
func TestNormaliseInOrder(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower := t.TempDir()
		runIn(t, lower, `for i in $(seq 80); do echo $i > ${i}a; ln ${i}a ${i}c; echo $i > ${i}b; done`)
		mustNormalise(t, lower, NormaliseOptions{Epoch: epoch})
		for range 3 {
			upper := t.TempDir()
			runIn(t, upper, `for i in $(seq 80); do echo $i > ${i}a; ln ${i}a ${i}b; done`)
			mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}})
			if left, err := os.ReadDir(upper); err != nil || len(left) > 0 {
				t.Fatalf("%d names stay: %v, %v", len(left), left, err)
			}
		}
	})
}

func TestNormaliseRefuses(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		own := trustedOverlay
		if inUserNamespace() {
			own = userOverlay
		}
		for name, c := range map[string]struct {
			prepare func(dir string) error
			want    string
		}{
			"redirect": {func(dir string) error {
				return unix.Setxattr(mkdir(t, dir, "bad"), own+"redirect", []byte("/x"), 0)
			}, "redirect_dir"},
			"metacopy": {func(dir string) error {
				write(t, dir+"/bad", "")
				return unix.Setxattr(dir+"/bad", own+"metacopy", nil, 0)
			}, "metacopy"},
			"whiteout by name":           {func(dir string) error { write(t, dir+"/.wh.bad", ""); return nil }, `".wh."`},
			"directory named a whiteout": {func(dir string) error { mkdir(t, dir, ".wh.bad"); return nil }, `".wh."`},
			"large rewrite": {func(dir string) error {
				write(t, dir+"/bad", "")
				return os.Truncate(dir+"/bad", rewriteLimit+1)
			}, "larger than"},
			"failing rewrite": {func(dir string) error { write(t, dir+"/bad", "x"); return nil }, "not today"},
		} {
			dir := t.TempDir()
			check(t, c.prepare(dir))
			policy := Policy{Rewrites: []Rewrite{{"bad", func([]byte, int64) ([]byte, error) { return nil, errors.New("not today") }}}}
			err := Normalise(context.Background(), dir, NormaliseOptions{Epoch: epoch, Policy: policy})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "bad") {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
	t.Run("device", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Skipf("make device: %v", err)
		}
		if err := Normalise(context.Background(), dir, NormaliseOptions{}); err == nil || !strings.Contains(err.Error(), `"null": device`) {
			t.Errorf("error %v", err)
		}
		if _, _, err := Digest(context.Background(), dir); err == nil || !strings.Contains(err.Error(), `"null": device`) {
			t.Errorf("error %v", err)
		}
	})
}

// fuse-overlayfs marks what is gone with names and attributes of its own.
func TestNormaliseFuseMarks(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower := lowerTree(t)
		upper := t.TempDir()
		write(t, upper+"/etc/.wh.conf", "")
		write(t, upper+"/etc/.wh.nothing", "")
		write(t, upper+"/usr/share/doc/one/.wh..wh..opq", "")
		write(t, upper+"/usr/share/doc/one/n", "n")
		check(t, unix.Setxattr(mkdir(t, upper, "usr/share/doc/two"), fuseOverlay+"opaque", []byte("y"), 0))
		check(t, unix.Setxattr(upper+"/usr/share/doc/two", fuseOverlay+"origin", []byte("inode"), 0))
		mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}, Fuse: true})
		wantList(t, upper, "5 0755 0:0 etc", "w 0000 0:0 etc/.wh.conf", "5 0755 0:0 usr", "5 0755 0:0 usr/share", "5 0755 0:0 usr/share/doc",
			"5 0755 0:0 usr/share/doc/one", "o 0000 0:0 usr/share/doc/one/.wh..wh..opq", `0 0644 0:0 usr/share/doc/one/n "n"`,
			"5 0755 0:0 usr/share/doc/two", "o 0000 0:0 usr/share/doc/two/.wh..wh..opq")
		// the marks are now the kernel's
		mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}})
		sameAsMounted(t, upper, lower)
	})
}

// A program in the container can set what only looks like a mark.
func TestNormaliseForeignMarks(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower := lowerTree(t)
		upper := mkdir(t, t.TempDir(), "upper")
		dir := mkdir(t, upper, "usr/share/doc/one")
		check(t, unix.Setxattr(dir, fuseOverlay+"opaque", []byte("y"), 0))
		write(t, dir+"/.keep", "")
		if !inUserNamespace() {
			check(t, unix.Setxattr(dir, userOverlay+"opaque", []byte("y"), 0))
			check(t, unix.Setxattr(dir+"/.keep", userOverlay+"whiteout", []byte("y"), 0))
		}
		mustNormalise(t, upper, NormaliseOptions{Epoch: epoch, Lowers: []string{lower}})
		wantList(t, upper, "5 0755 0:0 usr", "5 0755 0:0 usr/share", "5 0755 0:0 usr/share/doc", "5 0755 0:0 usr/share/doc/one", `0 0644 0:0 usr/share/doc/one/.keep ""`)
		fd, err := openTree(dir)
		check(t, err)
		defer unix.Close(fd)
		if names, _ := listXattrs(fd); len(names) != 0 {
			t.Errorf("attributes %v stay", names)
		}
	})
}

// What Unpack has made becomes the same whether all of it is looked at or not.
func TestNormaliseUnpacked(t *testing.T) {
	data := archive(t, append(odd(),
		ent{name: "./var/mail/shared", body: "group of the directory", mode: 0o2664, gid: 8},
		ent{name: "./var/mail/own", body: "another group", mode: 0o666},
		ent{name: "./var/mail/link", typ: tar.TypeSymlink, link: "own"},
		ent{name: "./big", body: "small"},
		ent{name: "./run/", mode: 0o700},
		ent{name: "./deep/er/est/file", body: "a directory with directories in it, and one with none"},
		ent{name: "./deep/alone/", mode: 0o711},
		ent{name: "./listed/", pax: map[string]string{"SCHILY.acl.default": "user::rwx,user:7:r-x,group::r-x,mask::r-x,other::r-x"}},
		ent{name: "./listed/file", body: "x", mode: 0o640, pax: map[string]string{"SCHILY.acl.access": "user::rw-,user:7:r--,group::r--,mask::r--,other::r--"}},
	)...)
	policy := Policy{
		Drop: []string{"usr/bin/su", "names/*", "run/initctl"}, DropEmpty: []string{"empty", "run"},
		Rewrites: []Rewrite{{"noted", func([]byte, int64) ([]byte, error) { return []byte("rewritten"), nil }}},
	}
	nstest.Both(t, func(t *testing.T) {
		var lists, digests [2]string
		for i, unpacked := range []bool{false, true} {
			dir := mkdir(t, t.TempDir(), "root")
			check(t, unix.Setxattr(dir, "user.note", []byte("x"), 0))
			u := mustUnpack(t, dir, data, UnpackOptions{})
			mustNormalise(t, dir, NormaliseOptions{Epoch: u.Newest, Policy: policy, Unpacked: unpacked})
			lists[i], digests[i] = strings.Join(list(t, dir), "\n"), mustDigest(t, dir)
		}
		if lists[0] != lists[1] || digests[0] != digests[1] {
			t.Errorf("looking at all gives\n%s\n%s\nand else\n%s\n%s", digests[0], lists[0], digests[1], lists[1])
		}
		for _, gone := range []string{"usr/bin/su", "names/", "initctl", " run", "empty"} {
			if strings.Contains(lists[1], gone) {
				t.Errorf("%s stays:\n%s", gone, lists[1])
			}
		}
		if !strings.Contains(lists[1], `"rewritten"`) {
			t.Errorf("noted is not rewritten:\n%s", lists[1])
		}
	})
}

func TestNormaliseRoot(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		dir := mkdir(t, t.TempDir(), "root")
		check(t, os.Chmod(dir, 0o700))
		check(t, unix.Setxattr(dir, "user.note", []byte("x"), 0))
		l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		check(t, err)
		defer unix.Close(l)
		t.Chdir(dir)
		check(t, unix.Bind(l, &unix.SockaddrUnix{Name: "socket"}))
		mustNormalise(t, dir, NormaliseOptions{Epoch: epoch})
		wantList(t, dir)
		st := stat(t, dir)
		if st.Mode&0o7777 != 0o755 || st.Mtim.Sec != epoch {
			t.Errorf("root has mode %o, time %d", st.Mode, st.Mtim.Sec)
		}
		if n, _ := unix.Listxattr(dir, nil); n != 0 {
			t.Error("root keeps attributes")
		}
		if entries, _ := filepath.Glob(dir + "/*"); len(entries) != 0 {
			t.Errorf("root holds %v", entries)
		}
	})
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"a", "a", true}, {"/a/", "a", true}, {"a", "b", false}, {"a", "a/b", false}, {"a/b", "a/b", true}, {"a/*", "a/b", true},
		{"a/*", "a", false}, {"*", "a/b", false}, {"*.c", "x.c", true}, {"*.c", ".c", true}, {"x*y*z", "x1y2z", true}, {"x*y*z", "xyyzz", true},
		{"x*y*z", "xzy", false}, {"**/c", "c", true}, {"**/c", "a/b/c", true}, {"**/c", "a/c/b", false}, {"a/**/c", "a/c", true},
		{"a/**/c", "a/b/b/c", true}, {"a/**", "a/b/c", true}, {"a/**", "a", false}, {`\*`, "*", true}, {`\*`, "a", false}, {`a\\b`, `a\b`, true},
		{Literal(`a*\b`), `a*\b`, true}, {Literal("a*b"), "axb", false}, {"", "a", false}, {"?", "a", false}, {"[a]", "a", false},
	} {
		p := Policy{Drop: []string{c.pattern}}
		rules, hit := p.rules(), false
		parts := strings.Split(c.path, "/")
		for i, part := range parts {
			actions, below := step(rules, part)
			hit, rules = i == len(parts)-1 && len(actions) > 0, below
		}
		if hit != c.want {
			t.Errorf("pattern %q on %q: %v", c.pattern, c.path, hit)
		}
	}
}
