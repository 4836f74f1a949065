package fstree

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ent is one entry of a test archive.
type ent struct {
	name string
	typ  byte // default: a file, or a directory when the name ends in a slash
	body string
	link string
	mode int64 // default 0644, 0755 for directories; noMode is 0000
	uid  int
	gid  int
	time int64 // default 1,000,000,000
	pax  map[string]string
	raw  []byte // these bytes instead of an entry
}

const noMode = -1

func archive(t testing.TB, ents ...ent) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, e := range ents {
		if e.raw != nil {
			buf.Write(e.raw)
			continue
		}
		w := tar.NewWriter(&buf)
		if err := w.WriteHeader(e.header()); err != nil {
			t.Fatalf("entry %q: %v", e.name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tar.NewWriter(&buf).Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (e ent) header() *tar.Header {
	h := &tar.Header{Name: e.name, Typeflag: e.typ, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.gid,
		Size: int64(len(e.body)), ModTime: time.Unix(1_000_000_000, 0), PAXRecords: e.pax, Format: tar.FormatPAX}
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
	}
	if e.mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
	}
	if e.mode == noMode {
		h.Mode = 0
	}
	if e.time != 0 {
		h.ModTime = time.Unix(e.time, 0)
	}
	return h
}

// rawEntry makes an entry that archive/tar would refuse to write.
func rawEntry(name string, typ byte, body string) []byte {
	h := header{name: name, mode: 0o644, size: int64(len(body)), typeflag: typ}
	return pad(append(h.appendTo(nil), body...))
}

func mustUnpack(t testing.TB, dir string, data []byte, opts UnpackOptions) *Unpacked {
	t.Helper()
	u, err := Unpack(context.Background(), dir, bytes.NewReader(data), opts)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustNormalise(t testing.TB, dir string, opts NormaliseOptions) {
	t.Helper()
	if err := Normalise(context.Background(), dir, opts); err != nil {
		t.Fatal(err)
	}
}

func mustDigest(t testing.TB, dir string) string {
	t.Helper()
	d, _, err := Digest(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// list describes the tree at dir as the canonical archive would have it, one entry a line.
func list(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := entries(context.Background(), dir, func(e *Entry) error {
		s := fmt.Sprintf("%c %04o %d:%d %s", e.Kind, e.Mode, e.UID, e.GID, strings.ReplaceAll(e.Path, long, "LONG"))
		if e.Link != "" {
			s += " -> " + e.Link
		}
		for _, x := range e.xattrs {
			s += fmt.Sprintf(" %s=%q", x.name, x.value)
		}
		if e.Kind == File {
			b, err := os.ReadFile(filepath.Join(dir, e.Path))
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" %.20q", b)
		}
		lines = append(lines, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// long is a path component that list shortens.
var long = strings.Repeat("d", 200)

func wantList(t testing.TB, dir string, want ...string) {
	t.Helper()
	got := list(t, dir)
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("entry %d is %q, want %q", i, g, w)
			return
		}
	}
}

// state describes everything below dir that a write would change.
func state(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d %d %d %v %v\n", p, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim)
		if d.Type().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q\n", data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func mkdir(t testing.TB, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(p, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t testing.TB, path, content string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
