package fstree

import (
	"bytes"
	"context"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// The archive of several trees is that of what their overlay shows, mark for mark and link for link.
func TestWriteMerged(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		bottom := lowerTree(t)
		one, _, err := WriteMerged(context.Background(), io.Discard, []string{bottom})
		check(t, err)
		if want := mustDigest(t, bottom); one.String() != want {
			t.Errorf("of one tree %s, want %s", one, want)
		}
		middle := overlay(t, `rm -r usr/share/doc/one; mkdir usr/share/doc/one; echo m > usr/share/doc/one/m; rm etc/conf; rmdir empty; echo v > etc/v; chmod 700 var`, bottom)
		mustNormalise(t, middle, NormaliseOptions{Epoch: epoch, Lowers: []string{bottom}})
		top := overlay(t, `echo conf > etc/conf; mkdir -p new/d; ln etc/passwd new/p; rm usr/share/doc/one/m; rm usr/bin/a; rm -r var; echo f > var; mkfifo etc/p`, middle, bottom)
		mustNormalise(t, top, NormaliseOptions{Epoch: epoch, Lowers: []string{middle, bottom}})
		dirs := []string{top, middle, bottom}
		var merged bytes.Buffer
		got, size, err := WriteMerged(context.Background(), &merged, dirs)
		check(t, err)
		if size != int64(merged.Len()) {
			t.Errorf("%d bytes, and it says %d", merged.Len(), size)
		}
		shown := t.TempDir()
		overlayView(t, shown, dirs...)
		want := mustDigest(t, shown)
		check(t, unix.Unmount(shown, 0))
		if got.String() != want {
			t.Errorf("merged %s, mounted %s", got, want)
		}
		flat := t.TempDir()
		mustUnpack(t, flat, merged.Bytes(), UnpackOptions{}) // which refuses marks
		wantList(t, flat, "5 0755 0:0 etc", `0 0644 0:0 etc/conf "conf\n"`, `0 0644 0:0 etc/hostname "host\n"`, "6 0644 0:0 etc/p", `0 0644 0:0 etc/passwd "root\n"`,
			`0 0644 0:0 etc/v "v\n"`, "5 0755 0:0 new", "5 0755 0:0 new/d", "1 0644 0:0 new/p -> etc/passwd", "5 0755 0:0 run", "5 0755 0:0 usr", "5 0755 0:0 usr/bin",
			`0 0755 0:0 usr/bin/b "a\n"`, "2 0777 0:0 usr/bin/c -> a", "5 0755 0:0 usr/share", "5 0755 0:0 usr/share/doc", "5 0755 0:0 usr/share/doc/one", "5 0755 0:0 usr/share/doc/two",
			`0 0644 0:0 usr/share/doc/two/z "z\n"`, `0 0644 0:0 var "f\n"`)
	})
}

func TestWriteMergedFails(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		dir := lowerTree(t)
		for _, dirs := range [][]string{{dir, dir + "/none"}, {dir + "/etc/conf"}} {
			if _, _, err := WriteMerged(context.Background(), io.Discard, dirs); err == nil {
				t.Errorf("%q are archived", dirs)
			}
		}
		write(t, dir+"/etc/.wh.x", "")
		if _, _, err := WriteMerged(context.Background(), io.Discard, []string{dir, lowerTree(t)}); err == nil {
			t.Error("a name that means a removed file is archived")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := WriteMerged(ctx, io.Discard, []string{lowerTree(t)}); err == nil {
			t.Error("what was cancelled is archived")
		}
	})
}
