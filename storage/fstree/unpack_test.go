package fstree

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

func compressGzip(t testing.TB, data []byte) []byte {
	return compressed(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func compressZstd(t testing.TB, data []byte) []byte {
	return compressed(t, data, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
}

func compressXZ(t testing.TB, data []byte) []byte {
	return compressed(t, data, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
}

func compressed(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := open(&buf)
	check(t, err)
	_, err = w.Write(data)
	check(t, err)
	check(t, w.Close())
	return buf.Bytes()
}

// validCapability is cap_net_raw+ep in version 2.
const validCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// odd is an archive with everything a root file system may have.
func odd() []ent {
	deep := strings.Repeat(long+"/", 19)
	return []ent{
		{name: "./", mode: 0o700},
		{name: "./bin", typ: tar.TypeSymlink, link: "usr/bin"},
		{name: "./usr/bin/ping", body: "ping", mode: 0o755, pax: map[string]string{"SCHILY.xattr.security.capability": validCapability}},
		{name: "./usr/bin/su", body: "su", mode: 0o4755},
		{name: "./usr/bin/bunzip2", body: "bzip", mode: 0o755},
		{name: "./usr/bin/bzip2", typ: tar.TypeLink, link: "./usr/bin/bunzip2"},
		{name: "./usr/bin/bzcat", typ: tar.TypeLink, link: "/usr/bin/bunzip2"},
		{name: "./var/mail/", mode: 0o2775, gid: 8},
		{name: "./var/lib/x/", mode: 0o1777, uid: 101, gid: 102, pax: map[string]string{"SCHILY.xattr.user.note": "dir"}},
		{name: "./locked/", mode: noMode, uid: 65534, gid: 65534},
		{name: "./locked/file", mode: noMode, body: "secret", uid: 33},
		{name: "./run/initctl", typ: tar.TypeFifo, mode: 0o600},
		{name: "./names/new\nline", body: "n"},
		{name: "./names/\x1b[31mred", body: "r"},
		{name: "./names/\xff\xfe", body: "latin"},
		{name: "./names/\xff\xfe.link", typ: tar.TypeSymlink, link: "\xff\xfe"},
		{name: "./noted", body: "note", pax: map[string]string{"SCHILY.xattr.user.note": "a\x00b=c\n", "SCHILY.xattr.user.overlay.x": "no"}},
		{name: "./" + deep + "f", body: "deep"},
		{name: "./empty"},
		{name: "./big", body: strings.Repeat("0123456789abcdef", 40_000)},
		{name: "./future", body: "f", time: 4_000_000_000},
		{name: "./past", body: "p", time: -5},
	}
}

func TestUnpackOdd(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		dir := t.TempDir()
		u := mustUnpack(t, dir, archive(t, odd()...), UnpackOptions{})
		if u.Newest != 4_000_000_000 || u.Entries != 22 {
			t.Errorf("newest %d, %d entries", u.Newest, u.Entries)
		}
		mustNormalise(t, dir, NormaliseOptions{Epoch: 2_000_000_000})
		want := []string{
			`0 0644 0:0 big "0123456789abcdef0123"`,
			"2 0777 0:0 bin -> usr/bin",
		}
		for i := range 19 {
			want = append(want, "5 0755 0:0 "+strings.Repeat("LONG/", i)+"LONG")
		}
		want = append(want,
			`0 0644 0:0 `+strings.Repeat("LONG/", 19)+`f "deep"`,
			`0 0644 0:0 empty ""`,
			`0 0644 0:0 future "f"`,
			"5 0000 65534:65534 locked",
			`0 0000 33:0 locked/file "secret"`,
			"5 0755 0:0 names",
			"0 0644 0:0 names/\x1b[31mred \"r\"",
			"0 0644 0:0 names/new\nline \"n\"",
			"0 0644 0:0 names/\xff\xfe \"latin\"",
			"2 0777 0:0 names/\xff\xfe.link -> \xff\xfe",
			`0 0644 0:0 noted user.note="a\x00b=c\n" "note"`,
			`0 0644 0:0 past "p"`,
			"5 0755 0:0 run",
			"6 0600 0:0 run/initctl",
			"5 0755 0:0 usr",
			"5 0755 0:0 usr/bin",
			`0 0755 0:0 usr/bin/bunzip2 "bzip"`,
			"1 0755 0:0 usr/bin/bzcat -> usr/bin/bunzip2",
			"1 0755 0:0 usr/bin/bzip2 -> usr/bin/bunzip2",
			fmt.Sprintf(`0 0755 0:0 usr/bin/ping security.capability=%q "ping"`, validCapability),
			`0 4755 0:0 usr/bin/su "su"`,
			"5 0755 0:0 var",
			"5 0755 0:0 var/lib",
			`5 1777 101:102 var/lib/x user.note="dir"`,
			"5 2775 0:8 var/mail")
		wantList(t, dir, want...)
		if d := mustDigest(t, dir); d != oddDigest {
			t.Errorf("digest %s, want %s", d, oddDigest)
		}
		if st := stat(t, dir+"/past"); st.Mtim.Sec != 0 {
			t.Errorf("time before the epoch became %d", st.Mtim.Sec)
		}
		if st := stat(t, dir+"/future"); st.Mtim.Sec != 2_000_000_000 {
			t.Errorf("time after SOURCE_DATE_EPOCH became %d", st.Mtim.Sec)
		}
		if st := stat(t, dir+"/bin"); st.Mtim.Sec != 1_000_000_000 {
			t.Errorf("time of a link became %d", st.Mtim.Sec)
		}
	})
}

// oddDigest pins the canonical archive: a change of it changes the identity of every layer there is.
const oddDigest = "sha256:eb4467c522fcde76c626004aaf845a002783b44568e0f75eb9651bc8e825b7a6"

func stat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st))
	return st
}

func TestUnpackCompressions(t *testing.T) {
	plain := archive(t, odd()...)
	for name, data := range map[string][]byte{
		"plain": plain, "gzip": compressGzip(t, plain), "zstd": compressZstd(t, plain), "xz": compressXZ(t, plain),
		"two gzip members": append(compressGzip(t, plain[:10_000]), compressGzip(t, plain[10_000:])...),
		"two zstd frames":  append(compressZstd(t, plain[:10_000]), compressZstd(t, plain[10_000:])...),
		"more zeros":       append(bytes.Clone(plain), make([]byte, 9000)...),
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Userns(t, func(t *testing.T) {
				for _, layer := range []bool{false, true} {
					dir := t.TempDir()
					u, err := Unpack(context.Background(), dir, iotest.OneByteReader(bytes.NewReader(data)), UnpackOptions{Layer: layer})
					check(t, err)
					if want := fmt.Sprintf("sha256:%x", sha256.Sum256(data)); u.Digest.String() != want || u.Size != int64(len(data)) {
						t.Errorf("read %s, %d bytes", u.Digest, u.Size)
					}
					if want := fmt.Sprintf("sha256:%x", sha256.Sum256(plain)); layer && name != "more zeros" && u.DiffID.String() != want {
						t.Errorf("diffID %s, want %s", u.DiffID, want)
					}
					mustNormalise(t, dir, NormaliseOptions{Epoch: 2_000_000_000})
					if d := mustDigest(t, dir); d != oddDigest {
						t.Errorf("digest %s, want %s", d, oddDigest)
					}
				}
			})
		})
	}
}

func TestUnpackDamage(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		plain := archive(t, ent{name: "a", body: strings.Repeat("a", 1024)}, ent{name: "b", body: strings.Repeat("b", 700)})
		end := len(plain) - 1024
		z, x, s := compressGzip(t, plain), compressXZ(t, plain), compressZstd(t, plain)
		flip := func(b []byte, at int) []byte {
			b = bytes.Clone(b)
			b[at] ^= 0x55
			return b
		}
		for name, data := range map[string][]byte{
			"empty":                     {},
			"one byte":                  plain[:1],
			"cut in a header":           plain[:300],
			"cut in a file":             plain[:1000],
			"cut after a file":          plain[:1536],
			"cut before the end marker": plain[:end],
			"cut in padding":            plain[:end-100],
			"text after the end":        append(bytes.Clone(plain), "trailing"...),
			"archive after the end":     append(bytes.Clone(plain), plain...),
			"gzip cut":                  z[:len(z)-9],
			"gzip without checksum":     z[:len(z)-8],
			"gzip header only":          z[:10],
			"gzip with a flipped bit":   flip(z, len(z)-6),
			"gzip with a tail":          append(bytes.Clone(z), "trailing"...),
			"zstd cut":                  s[:len(s)-2],
			"zstd with a tail":          append(bytes.Clone(s), "trailing"...),
			"zstd with a flipped bit":   flip(s, len(s)/2),
			"xz cut":                    x[:len(x)-20],
			"xz with a tail":            append(bytes.Clone(x), "trailing garbage"...),
			"xz with a flipped bit":     flip(x, len(x)/2),
			"bzip2":                     []byte("BZh91AY&SY"),
			"no archive":                []byte(strings.Repeat("this is no archive\n", 100)),
			"html":                      []byte("<html>not found</html>"),
		} {
			t.Run(name, func(t *testing.T) {
				u, err := Unpack(context.Background(), t.TempDir(), bytes.NewReader(data), UnpackOptions{})
				if err == nil {
					t.Errorf("accepted as %+v", u)
				}
			})
		}
	})
}

func TestUnpackStops(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		data := archive(t, odd()...)
		t.Run("reader fails", func(t *testing.T) {
			broken := errors.New("the line is cut")
			r := io.MultiReader(bytes.NewReader(data[:5000]), iotest.ErrReader(broken))
			if _, err := Unpack(context.Background(), t.TempDir(), r, UnpackOptions{}); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
		})
		t.Run("cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			endless := &endlessTar{stop: cancel}
			if _, err := Unpack(ctx, t.TempDir(), endless, UnpackOptions{}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
		t.Run("disk full", func(t *testing.T) {
			nstest.Userns(t, func(t *testing.T) {
				dir := t.TempDir()
				check(t, unix.Mount("none", dir, "tmpfs", 0, "size=4m"))
				defer unix.Unmount(dir, unix.MNT_DETACH)
				data := archive(t, ent{name: "before", body: "x"}, ent{name: "big", body: strings.Repeat("x", 8<<20)}, ent{name: "after", body: "x"})
				_, err := Unpack(context.Background(), dir, bytes.NewReader(data), UnpackOptions{})
				var entry *EntryError
				if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &entry) || entry.Entry != "big" {
					t.Errorf("error %v", err)
				}
			})
		})
		for _, fd := range openFiles(t) {
			if strings.Contains(fd, os.TempDir()+"/TestUnpackStops") {
				t.Errorf("left open: %s", fd)
			}
		}
	})
}

func openFiles(t *testing.T) (files []string) {
	dir, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	for _, d := range dir {
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil {
			files = append(files, target)
		}
	}
	return files
}

// endlessTar gives files without end and cancels after the first megabytes.
type endlessTar struct {
	n    int
	rest []byte
	stop func()
}

func (e *endlessTar) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.n++; e.n == 20 {
			e.stop()
		}
		e.rest = rawEntry(fmt.Sprintf("f%d", e.n), '0', strings.Repeat("x", 100_000))
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestUnpackOwnerWithoutPlace(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		for _, e := range []ent{{name: "f"}, {name: "d/"}, {name: "l", typ: tar.TypeSymlink, link: "x"}} {
			e.uid = 70_000
			_, err := Unpack(context.Background(), t.TempDir(), bytes.NewReader(archive(t, e)), UnpackOptions{})
			if err == nil || !strings.Contains(err.Error(), "subordinate ids") || !strings.Contains(err.Error(), fmt.Sprintf("%q", e.name)) {
				t.Errorf("%s: error %v", e.name, err)
			}
		}
	})
}

// What GNU tar writes, in each of its formats, with holes.
func TestUnpackGNU(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		if _, err := exec.LookPath("tar"); err != nil {
			t.Skip("no tar program")
		}
		src := t.TempDir()
		write(t, src+"/plain", "plain")
		write(t, src+"/"+strings.Repeat("long", 40), "long name")
		check(t, os.Symlink(strings.Repeat("target/", 30), src+"/link"))
		f, err := os.Create(src + "/holes")
		check(t, err)
		for i := range 6 {
			_, err := f.WriteAt([]byte(fmt.Sprintf("data %d", i)), int64(i)*3<<20)
			check(t, err)
		}
		check(t, f.Truncate(30<<20))
		check(t, f.Close())
		var first string
		for _, format := range [][]string{
			{"--format=gnu"}, {"--format=gnu", "--sparse"}, {"--format=posix"}, {"--format=posix", "--sparse", "--sparse-version=0.0"},
			{"--format=posix", "--sparse", "--sparse-version=0.1"}, {"--format=posix", "--sparse", "--sparse-version=1.0"},
		} {
			data, err := exec.Command("tar", append(format, "-C", src, "-c", ".")...).Output()
			check(t, err)
			dir := t.TempDir()
			mustUnpack(t, dir, data, UnpackOptions{})
			mustNormalise(t, dir, NormaliseOptions{Epoch: 1})
			d := mustDigest(t, dir)
			if first == "" {
				first = d
			}
			if d != first {
				t.Errorf("%v: digest %s, want %s", format, d, first)
			}
			if st := stat(t, dir+"/holes"); len(format) > 1 && st.Blocks*512 > 10<<20 {
				t.Errorf("%v: the holes take %d bytes", format, st.Blocks*512)
			}
		}
	})
}

func TestUnpackLayers(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		lower := []ent{{name: "a/"}, {name: "a/one", body: "1"}, {name: "a/two", body: "2"}, {name: "a/sub/"}, {name: "a/sub/x", body: "x"}, {name: "b", body: "b"}, {name: "lib", typ: tar.TypeSymlink, link: "usr/lib"}, {name: "usr/lib/"}, {name: "usr/lib/z", body: "z"}}
		base := []string{"5 0755 0:0 a", `0 0644 0:0 a/one "1"`, "5 0755 0:0 a/sub", `0 0644 0:0 a/sub/x "x"`, `0 0644 0:0 a/two "2"`, `0 0644 0:0 b "b"`, "2 0777 0:0 lib -> usr/lib", "5 0755 0:0 usr", "5 0755 0:0 usr/lib", `0 0644 0:0 usr/lib/z "z"`}
		without := func(drop ...string) (kept []string) {
		next:
			for _, line := range base {
				path := strings.Fields(line)[3]
				for _, d := range drop {
					if path == d || strings.HasPrefix(path, d+"/") {
						continue next
					}
				}
				kept = append(kept, line)
			}
			return kept
		}
		for _, c := range []struct {
			name string
			ents []ent
			want []string
		}{
			{"nothing", nil, base},
			{"file removed", []ent{{name: "a/.wh.one"}}, without("a/one")},
			{"directory removed", []ent{{name: ".wh.a"}}, without("a")},
			{"what is not there", []ent{{name: "nowhere/.wh.x"}, {name: "a/.wh.nothing"}, {name: "b/.wh.x"}}, base},
			{"opaque", []ent{{name: "a/"}, {name: "a/.wh..wh..opq"}, {name: "a/new", body: "n"}},
				append([]string{"5 0755 0:0 a", `0 0644 0:0 a/new "n"`}, without("a")...)},
			{"opaque after its content", []ent{{name: "a/new", body: "n"}, {name: "a/.wh..wh..opq"}},
				append([]string{"5 0755 0:0 a", `0 0644 0:0 a/new "n"`}, without("a")...)},
			{"removed after it was made anew", []ent{{name: "a/"}, {name: "a/sub/"}, {name: "a/sub/y", body: "y"}, {name: ".wh.a"}},
				append([]string{"5 0755 0:0 a", "5 0755 0:0 a/sub", `0 0644 0:0 a/sub/y "y"`}, without("a")...)},
			{"opaque root", []ent{{name: ".wh..wh..opq"}, {name: "only", body: "o"}}, []string{`0 0644 0:0 only "o"`}},
			{"through a link", []ent{{name: "lib/.wh.z"}}, without("usr/lib/z")},
			{"directory over file", []ent{{name: "b/"}, {name: "b/c", body: "c"}},
				append(append(without("b", "lib", "usr"), "5 0755 0:0 b", `0 0644 0:0 b/c "c"`), base[6:]...)},
			{"AUFS bookkeeping", []ent{{name: ".wh..wh.plnk/"}, {name: ".wh..wh.aufs"}}, base},
		} {
			t.Run(c.name, func(t *testing.T) {
				dir := t.TempDir()
				mustUnpack(t, dir, archive(t, lower...), UnpackOptions{Layer: true})
				mustUnpack(t, dir, archive(t, c.ents...), UnpackOptions{Layer: true})
				wantList(t, dir, c.want...)
			})
		}
	})
}

// The upper layer's entry for a directory replaces its attributes too.
func TestUnpackLayerAttributes(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t, ent{name: "d/", pax: map[string]string{"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "1"}}), UnpackOptions{Layer: true})
		mustUnpack(t, dir, archive(t, ent{name: "d/", mode: 0o700, pax: map[string]string{"SCHILY.xattr.user.b": "2"}}), UnpackOptions{Layer: true})
		wantList(t, dir, `5 0700 0:0 d user.b="2"`)
	})
}

func FuzzUnpack(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("not root")
	}
	const large = 32 << 10 // the engine takes long to mutate what is larger
	for _, c := range hostileCases("/outside") {
		if b := archive(f, c.ents...); len(b) < large {
			f.Add(b, c.layer)
		}
	}
	var small []ent
	for _, e := range odd() {
		if len(e.body)+len(e.name) < 1000 {
			small = append(small, e)
		}
	}
	plain := archive(f, small...)
	for _, b := range [][]byte{plain, compressGzip(f, plain), compressZstd(f, plain), compressXZ(f, plain)} {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, layer bool) {
		top := t.TempDir()
		root, outside := mkdir(t, top, "root"), mkdir(t, top, "outside")
		write(t, outside+"/file", "canary")
		before := state(t, outside)
		_, err := Unpack(context.Background(), root, bytes.NewReader(data), UnpackOptions{Layer: layer, Limits: Limits{Entries: 200, Bytes: 1 << 20}})
		if state(t, outside) != before {
			t.Error("something outside changed")
		}
		if names, _ := filepath.Glob(top + "/*"); len(names) != 2 {
			t.Errorf("beside the root appeared %v", names)
		}
		if err == nil { // what is accepted can be a layer, always the same
			mustNormalise(t, root, NormaliseOptions{Epoch: 1})
			roundTrip(t, root, 1)
		}
		check(t, RemoveAll(root))
	})
}

// roundTrip unpacks the canonical archive of a tree, normalised with an epoch, and wants the same tree.
func roundTrip(t testing.TB, dir string, epoch int64) {
	t.Helper()
	var buf bytes.Buffer
	want, size, err := WriteTar(context.Background(), &buf, dir)
	check(t, err)
	if size != int64(buf.Len()) {
		t.Errorf("size %d, %d bytes written", size, buf.Len())
	}
	again := t.TempDir()
	u := mustUnpack(t, again, buf.Bytes(), UnpackOptions{Layer: true})
	if u.Digest != want {
		t.Errorf("written as %s, read as %s", want, u.Digest)
	}
	mustNormalise(t, again, NormaliseOptions{Epoch: epoch})
	got, err := Compare(context.Background(), Tree(dir), Tree(again))
	check(t, err)
	if len(got) > 0 || mustDigest(t, again) != want.String() {
		t.Errorf("it came back with the differences %v", got)
	}
}
