package fstree

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// A layer of the store, with all that layers can have, comes back from its archive as the same layer.
func TestMarksRoundTrip(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		dir := t.TempDir()
		lower, upper, back := mkdir(t, dir, "lower"), mkdir(t, dir, "upper"), mkdir(t, dir, "back")
		for _, name := range []string{"gone", "keep/gone", "opaque/old"} {
			write(t, filepath.Join(lower, name), "x")
		}
		write(t, filepath.Join(upper, "keep/file"), "content")
		write(t, filepath.Join(upper, "opaque/new"), "new")
		write(t, filepath.Join(upper, strings.Repeat("long/", 30)+"name"), strings.Repeat("y", 300_000))
		check(t, os.Link(filepath.Join(upper, "keep/file"), filepath.Join(upper, "keep/link")))
		check(t, os.Symlink("../nowhere", filepath.Join(upper, "keep/symlink")))
		check(t, unix.Mkfifo(filepath.Join(upper, "keep/fifo"), 0o600))
		check(t, unix.Setxattr(filepath.Join(upper, "keep/file"), "user.note", []byte("n"), 0))
		check(t, os.Chmod(filepath.Join(upper, "keep/file"), 0o4755))
		for _, name := range []string{"gone", "keep/gone"} {
			check(t, unix.Mknod(filepath.Join(upper, name), unix.S_IFCHR, 0))
		}
		fd, err := unix.Open(filepath.Join(upper, "opaque"), unix.O_RDONLY, 0)
		check(t, err)
		m := newMarks(false)
		check(t, m.makeOpaque(fd))
		unix.Close(fd)
		mustNormalise(t, upper, NormaliseOptions{Epoch: 1_700_000_000, Lowers: []string{lower}})

		var tarball bytes.Buffer
		id, size, err := WriteTar(t.Context(), &tarball, upper)
		check(t, err)
		if !strings.Contains(tarball.String(), "keep/.wh.gone") || !strings.Contains(tarball.String(), "opaque/.wh..wh..opq") {
			t.Fatal("the layer has no marks to test with")
		}
		u := mustUnpack(t, back, tarball.Bytes(), UnpackOptions{Layer: true, Marks: true})
		if u.DiffID != id || u.Size != size {
			t.Errorf("it is %s of %d bytes, not %s of %d", u.DiffID, u.Size, id, size)
		}
		if got := mustDigest(t, back); got != string(id) && got != id.Encoded() {
			t.Errorf("it comes back as %s, not %s", got, id)
		}
	})
}

// What is no canonical layer unpacks to something with another digest, or not at all.
func TestMarksOdd(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		for name, ents := range map[string][]ent{
			"unsorted":             {{name: "b", body: "b"}, {name: "a", body: "a"}},
			"twice":                {{name: "a", body: "1"}, {name: "a", body: "2"}},
			"without its parent":   {{name: "a/b", body: "b"}},
			"times of directories": {{name: "a/", time: 5}, {name: "b/", time: 6}},
			"a device":             {{name: "dev/"}, {name: "dev/null", typ: tar.TypeChar}},
		} {
			dir, data := t.TempDir(), archive(t, ents...)
			u := mustUnpack(t, dir, data, UnpackOptions{Layer: true, Marks: true})
			if got := mustDigest(t, dir); got == string(u.DiffID) || got == u.DiffID.Encoded() {
				t.Errorf("%s: %s looks canonical", name, got)
			}
		}
		for name, ents := range map[string][]ent{
			"opaque root":     {{name: ".wh..wh..opq"}},
			"whiteout of ..":  {{name: "a/.wh..."}},
			"bookkeeping":     {{name: ".wh..wh.plnk/"}},
			"opaque file":     {{name: "a", body: "x"}, {name: "a/.wh..wh..opq"}},
			"outside by link": {{name: "l", typ: tar.TypeSymlink, link: "/etc"}, {name: "../.wh.passwd"}},
		} {
			if _, err := Unpack(t.Context(), t.TempDir(), bytes.NewReader(archive(t, ents...)), UnpackOptions{Layer: true, Marks: true}); err == nil {
				t.Errorf("%s: unpacked", name)
			}
		}
	})
}
