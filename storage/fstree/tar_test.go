package fstree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

func TestHeaderRanges(t *testing.T) {
	path := func(n int) string { return strings.Repeat("p/", n/2)[:n-1] + "x" }
	for _, c := range []struct {
		name string
		e    Entry
		pax  []string // keys of the PAX records that are needed
	}{
		{"plain", Entry{Path: "a", Kind: File, Mode: 0o644, MTime: 7}, nil},
		{"everything", Entry{Path: "a", Kind: File, Mode: 0o7777, UID: maxOctal7, GID: maxOctal7, MTime: maxOctal}, nil},
		{"large ids", Entry{Path: "a", Kind: Dir, UID: maxOctal7 + 1, GID: 1<<32 - 2}, []string{"gid", "uid"}},
		{"large file", Entry{Path: "a", Kind: File, Size: maxOctal + 1}, []string{"size"}},
		{"path of 100", Entry{Path: path(100), Kind: File}, nil},
		{"directory of 99", Entry{Path: path(99), Kind: Dir}, nil},
		{"directory of 100", Entry{Path: path(100), Kind: Dir}, nil},
		{"path of 101", Entry{Path: path(101), Kind: File}, nil},
		{"path of 256", Entry{Path: strings.Repeat("p", 155) + "/" + strings.Repeat("q", 100), Kind: File}, nil},
		{"path of 257", Entry{Path: strings.Repeat("p", 155) + "/" + strings.Repeat("q", 101), Kind: File}, []string{"path"}},
		{"prefix of 156", Entry{Path: strings.Repeat("p", 156) + "/" + strings.Repeat("q", 50), Kind: File}, []string{"path"}},
		{"component of 255", Entry{Path: strings.Repeat("n", 255), Kind: Dir}, []string{"path"}},
		{"path of 4095", Entry{Path: path(4095), Kind: File}, []string{"path"}},
		{"link of 100", Entry{Path: "a", Kind: Symlink, Link: path(100)}, nil},
		{"link of 101", Entry{Path: "a", Kind: HardLink, Link: path(101)}, []string{"linkpath"}},
		{"attributes", Entry{Path: "a", Kind: File, xattrs: []xattr{{"security.capability", validCapability}, {"user.x", strings.Repeat("v", 980)}}},
			[]string{"SCHILY.xattr.security.capability", "SCHILY.xattr.user.x"}},
		{"other bytes", Entry{Path: "a\xff\n", Kind: Symlink, Link: "\xfe"}, nil},
	} {
		b, err := appendHeader(nil, &c.e)
		check(t, err)
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		wantName := c.e.Path
		if c.e.Kind == Dir {
			wantName += "/"
		}
		if h.Name != wantName || h.Linkname != c.e.Link || h.Size != c.e.Size || h.Uid != int(c.e.UID) || h.Gid != int(c.e.GID) ||
			h.Mode != int64(c.e.Mode) || h.ModTime.Unix() != c.e.MTime || h.Typeflag != byte(c.e.Kind) || h.Uname+h.Gname != "" {
			t.Errorf("%s: read back as %+v", c.name, h)
		}
		var keys []string
		for k := range h.PAXRecords {
			keys = append(keys, k)
		}
		if slices.Sort(keys); !slices.Equal(keys, c.pax) {
			t.Errorf("%s: PAX records %v, want %v", c.name, keys, c.pax)
		}
		for _, x := range c.e.xattrs {
			if h.PAXRecords[paxXattr+x.name] != x.value {
				t.Errorf("%s: attribute %s came back as %q", c.name, x.name, h.PAXRecords[paxXattr+x.name])
			}
		}
	}
	for _, mtime := range []int64{-1, maxOctal + 1} {
		if _, err := appendHeader(nil, &Entry{Path: "a", Kind: File, MTime: mtime}); err == nil {
			t.Errorf("time %d accepted", mtime)
		}
	}
}

func TestPaxRecord(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 6, 90, 91, 92, 93, 94, 95, 96, 988, 989, 990, 991, 992, 993, 9980, 9990, 9995} {
		r := paxRecord("k", strings.Repeat("v", n))
		length, _, _ := strings.Cut(r, " ")
		if want := len(r); length != itoa(want) {
			t.Errorf("record of %d bytes says %s", want, length)
		}
	}
}

func itoa(n int) string {
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestRoundTrip(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t, odd()...), UnpackOptions{})
		mustNormalise(t, dir, NormaliseOptions{Epoch: epoch})
		roundTrip(t, dir, epoch)
		// and with names in another order on the disk
		var buf bytes.Buffer
		want, _, err := WriteTar(context.Background(), &buf, dir)
		check(t, err)
		backwards := odd()
		slices.Reverse(backwards[6:])
		backwards[len(backwards)-1].typ, backwards[len(backwards)-1].body, backwards[len(backwards)-1].mode = 0, "bzip", 0o755
		again := t.TempDir()
		mustUnpack(t, again, archive(t, reordered()...), UnpackOptions{})
		mustNormalise(t, again, NormaliseOptions{Epoch: epoch})
		if got := mustDigest(t, again); got != want.String() {
			t.Errorf("in another order %s, want %s", got, want)
		}
	})
}

// reordered is odd, last entry first but for the hard links, whose leader now is another name.
func reordered() []ent {
	all := odd()
	first := all[4]
	for i := range all {
		switch all[i].name {
		case "./usr/bin/bunzip2":
			all[i] = ent{name: "./usr/bin/bunzip2", typ: tar.TypeLink, link: "usr/bin/bzip2"}
		case "./usr/bin/bzip2":
			first.name = all[i].name
			all[i] = first
		}
	}
	slices.SortStableFunc(all, func(a, b ent) int {
		rank := func(e ent) int {
			switch {
			case e.typ == tar.TypeLink && strings.HasSuffix(e.name, "bzcat"):
				return 2
			case e.typ == tar.TypeLink:
				return 1
			default:
				return 0
			}
		}
		if c := rank(a) - rank(b); c != 0 {
			return c
		}
		return strings.Compare(b.name, a.name)
	})
	return all
}

// GNU tar unpacks the canonical archive without a word, and to the same tree.
func TestGNUReads(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("no tar program")
	}
	nstest.Both(t, func(t *testing.T) {
		dir, again := t.TempDir(), t.TempDir()
		mustUnpack(t, dir, archive(t, odd()...), UnpackOptions{})
		mustNormalise(t, dir, NormaliseOptions{Epoch: epoch})
		var buf bytes.Buffer
		_, _, err := WriteTar(context.Background(), &buf, dir)
		check(t, err)
		cmd := exec.Command("tar", "--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-x", "-C", again)
		cmd.Stdin = &buf
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		if got, want := mustDigest(t, again), mustDigest(t, dir); got != want {
			a, b := list(t, dir), list(t, again)
			t.Errorf("unpacked to %s, want %s\n%s\n%s", got, want, strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	})
}

func TestWriteTarFails(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t, ent{name: "big", body: strings.Repeat("x", 20<<20)}), UnpackOptions{})
		full := errors.New("disk full")
		if _, _, err := WriteTar(context.Background(), writerFunc(func([]byte) (int, error) { return 0, full }), dir); !errors.Is(err, full) {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := Digest(ctx, dir); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if _, _, err := Digest(context.Background(), dir+"/nothing"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCompare(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		a, b := lowerTree(t), lowerTree(t)
		var index bytes.Buffer
		check(t, Index(context.Background(), &index, a))
		for _, src := range []Source{Tree(a), Indexed(bytes.NewReader(index.Bytes()))} {
			got, err := Compare(context.Background(), src, Tree(b))
			check(t, err)
			if len(got) != 0 {
				t.Errorf("equal trees differ in %v", got)
			}
		}
		runIn(t, b, `
echo changed > etc/conf; chmod 600 etc/passwd; rm etc/hostname; echo n > etc/new; chown 1:2 empty; touch -d @5 usr/bin/a
rm usr/bin/c; ln -s b usr/bin/c; rm -r usr/share/doc/two; ln -s one usr/share/doc/two`)
		check(t, unix.Setxattr(b+"/usr", "user.note", []byte("x"), 0))
		want := []Difference{
			{"empty", "owner"}, {"etc", "time"}, {"etc/conf", "content"}, {"etc/conf", "time"}, {"etc/hostname", "missing"}, {"etc/new", "added"},
			{"etc/passwd", "mode"}, {"usr", "xattr"}, {"usr/bin", "time"}, {"usr/bin/a", "time"}, {"usr/bin/b", "time"}, {"usr/bin/c", "link"}, {"usr/bin/c", "time"},
			{"usr/share/doc", "time"}, {"usr/share/doc/two", "type"}, {"usr/share/doc/two/z", "missing"}}
		for _, src := range []Source{Tree(a), Indexed(bytes.NewReader(index.Bytes()))} {
			got, err := Compare(context.Background(), src, Tree(b))
			check(t, err)
			if !slices.Equal(got, want) {
				t.Errorf("differences\n%v\nwant\n%v", got, want)
			}
		}
	})
}

func TestIndexLines(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t, odd()...), UnpackOptions{})
		mustNormalise(t, dir, NormaliseOptions{Epoch: epoch})
		var index bytes.Buffer
		check(t, Index(context.Background(), &index, dir))
		if got, err := Compare(context.Background(), Indexed(&index), Tree(dir)); err != nil || len(got) != 0 {
			t.Errorf("differences %v, error %v", got, err)
		}
		for _, bad := range []string{"x", "0 0644 0 0 0 0 - - path", "0 0644 0 0 0 0 - -", `0 0644 0 0 x 0 - - "p"`, `2 0644 0 0 0 0 - - "p" l`, "00 0644 0 0 0 0 - - \"p\""} {
			if _, err := Compare(context.Background(), Indexed(strings.NewReader(bad+"\n")), Tree(dir)); err == nil {
				t.Errorf("line %q accepted", bad)
			}
		}
	})
}

func TestStreamReaders(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 200_000)
	s := newStream(context.Background(), 3)
	done := make(chan error, 4)
	go func() { done <- s.run(bytes.NewReader(data)) }()
	for _, r := range s.readers {
		go func() {
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, data) {
				err = errors.New("other bytes")
			}
			done <- err
		}()
	}
	for range 4 {
		check(t, <-done)
	}
}
