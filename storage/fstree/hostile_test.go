package fstree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// hostile is an archive that wants out. Either it is refused, with words that name the reason, or everything it says
// happens inside; in both cases nothing outside changes.
type hostile struct {
	name   string
	ents   []ent
	refuse string   // part of the error
	inside []string // where it is not refused: what the tree holds
	layer  bool
	limits Limits
}

func hostileCases(outside string) []hostile {
	up := strings.Repeat("../", 20)
	out := strings.TrimPrefix(outside, "/")
	const device = "device files are not admitted"
	xattr := func(name, value string) map[string]string { return map[string]string{"SCHILY.xattr." + name: value} }
	return []hostile{
		{name: "absolute name", ents: []ent{{name: outside + "/new"}}, refuse: "absolute"},
		{name: "dot dot", ents: []ent{{name: "../outside/new"}}, refuse: `".."`},
		{name: "dot dot inside", ents: []ent{{name: "a/"}, {name: "a/../../outside/new"}}, refuse: `".."`},
		{name: "dot dot that stays inside", ents: []ent{{name: "a/"}, {name: "a/../b"}}, refuse: `".."`},
		{name: "dot dot directory", ents: []ent{{name: "../"}}, refuse: `".."`},
		{name: "empty name", ents: []ent{{raw: rawEntry("", '0', "")}}, refuse: "empty"},
		{name: "root as a file", ents: []ent{{raw: rawEntry(".", '0', "x")}}, refuse: "the root must be a directory"},
		{name: "root as a link", ents: []ent{{name: "./", typ: tar.TypeSymlink, link: outside}}, refuse: "the root must be a directory"},
		{name: "file through absolute link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "l/new"}},
			refuse: "points to nothing"},
		{name: "file through absolute link that exists inside", ents: []ent{{name: "etc/"}, {name: "l", typ: tar.TypeSymlink, link: "/etc"}, {name: "l/new", body: "x"}},
			inside: []string{"5 0755 0:0 etc", `0 0644 0:0 etc/new "x"`, "2 0777 0:0 l -> /etc"}},
		{name: "file through climbing link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: up + out}, {name: "l/new"}},
			refuse: "points to nothing"},
		{name: "file through link to the root's parent", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: "../outside"}, {name: "l/new"}},
			refuse: "points to nothing"},
		{name: "file through dot dot link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: ".."}, {name: "l/new", body: "x"}},
			inside: []string{"2 0777 0:0 l -> ..", `0 0644 0:0 new "x"`}},
		{name: "file over link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside + "/file"}, {name: "l", body: "x"}},
			inside: []string{`0 0644 0:0 l "x"`}},
		{name: "directory over link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "l/", mode: 0o777}, {name: "l/new", body: "x"}},
			inside: []string{"5 0777 0:0 l", `0 0644 0:0 l/new "x"`}},
		{name: "FIFO over link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside + "/file"}, {name: "l", typ: tar.TypeFifo}},
			inside: []string{"6 0644 0:0 l"}},
		{name: "chain of links", ents: []ent{{name: "a", typ: tar.TypeSymlink, link: "b"}, {name: "b", typ: tar.TypeSymlink, link: outside}, {name: "a/new"}},
			refuse: "points to nothing"},
		{name: "loop of links", ents: []ent{{name: "a", typ: tar.TypeSymlink, link: "b"}, {name: "b", typ: tar.TypeSymlink, link: "a"}, {name: "a/new"}},
			refuse: "too many levels"},
		{name: "link through link", ents: []ent{{name: "a", typ: tar.TypeSymlink, link: outside}, {name: "a/b", typ: tar.TypeSymlink, link: "x"}},
			refuse: "points to nothing"},
		{name: "link to proc", ents: []ent{{name: "p", typ: tar.TypeSymlink, link: "/proc/self/root"}, {name: "p" + outside + "/new"}},
			refuse: "points to nothing"},
		{name: "link to an open directory", ents: []ent{{name: "p", typ: tar.TypeSymlink, link: "/proc/self/cwd"}, {name: "p/new"}},
			refuse: "points to nothing"},
		{name: "hard link to outside", ents: []ent{{name: "h", typ: tar.TypeLink, link: "../outside/file"}}, refuse: `".."`},
		{name: "absolute hard link to outside", ents: []ent{{name: "h", typ: tar.TypeLink, link: outside + "/file"}}, refuse: "no such file"},
		{name: "hard link through link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "h", typ: tar.TypeLink, link: "l/file"}},
			refuse: "no such file"},
		{name: "hard link to a link, then written", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside + "/file"}, {name: "h", typ: tar.TypeLink, link: "l"}, {name: "h", body: "x"}},
			inside: []string{`0 0644 0:0 h "x"`, "2 0777 0:0 l -> " + outside + "/file"}},
		{name: "link, hard link to it, file through it", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "h", typ: tar.TypeLink, link: "l"}, {name: "h/new"}},
			refuse: "points to nothing"},
		{name: "hard link to a directory", ents: []ent{{name: "d/"}, {name: "h", typ: tar.TypeLink, link: "d"}}, refuse: "it is a directory"},
		{name: "hard link to itself", ents: []ent{{name: "h"}, {name: "h", typ: tar.TypeLink, link: "h"}}, refuse: "itself"},
		{name: "hard link to nothing", ents: []ent{{name: "h", typ: tar.TypeLink, link: "nothing"}}, refuse: "no such file"},
		{name: "absolute hard link inside", ents: []ent{{name: "a", body: "x"}, {name: "h", typ: tar.TypeLink, link: "/a"}},
			inside: []string{`0 0644 0:0 a "x"`, "1 0644 0:0 h -> a"}},
		{name: "character device", ents: []ent{{name: "mem", typ: tar.TypeChar}}, refuse: device},
		{name: "block device", ents: []ent{{name: "disk", typ: tar.TypeBlock}}, refuse: device},
		{name: "device beside dev", ents: []ent{{name: "developer/mem", typ: tar.TypeChar}}, refuse: device},
		{name: "device as dev", ents: []ent{{name: "dev", typ: tar.TypeChar}}, refuse: device},
		{name: "device in dev", ents: []ent{{name: "dev/"}, {name: "dev/mem", typ: tar.TypeChar}}, inside: []string{"5 0755 0:0 dev"}},
		{name: "device in dev that is a link", ents: []ent{{name: "dev", typ: tar.TypeSymlink, link: outside}, {name: "dev/mem", typ: tar.TypeChar}},
			inside: []string{"2 0777 0:0 dev -> " + outside}},
		{name: "set-user-id", ents: []ent{{name: "su", mode: 0o4755}}, inside: []string{`0 4755 0:0 su ""`}},
		{name: "unknown type", ents: []ent{{raw: rawEntry("x", 'Z', "")}}, refuse: "unknown entry type"},
		{name: "child of a file", ents: []ent{{name: "a"}, {name: "a/b"}}, refuse: "not a directory"},
		{name: "file over full directory", ents: []ent{{name: "d/"}, {name: "d/e/"}, {name: "d/e/f"}, {name: "d", body: "x"}},
			inside: []string{`0 0644 0:0 d "x"`}},
		{name: "into a directory that was replaced by a link", ents: []ent{{name: "d/"}, {name: "d/a"}, {name: "d", typ: tar.TypeSymlink, link: outside}, {name: "d/new"}},
			refuse: "points to nothing"},
		{name: "into a directory whose parent was replaced by a link", ents: []ent{{name: "d/e/"}, {name: "d/e/a"}, {name: "d", typ: tar.TypeSymlink, link: outside}, {name: "d/e/new"}},
			refuse: "points to nothing"},
		{name: "same file twice", ents: []ent{{name: "f", body: "one"}, {name: "f", body: "two"}}, inside: []string{`0 0644 0:0 f "two"`}},
		{name: "owner out of range", ents: []ent{{name: "f", uid: 1 << 32}}, refuse: "owner"},
		{name: "malformed capability", ents: []ent{{name: "f", pax: xattr("security.capability", "bad")}}, refuse: "capability"},
		{name: "overlay marks", ents: []ent{{name: "d/", pax: xattr("user.overlay.opaque", "y")}, {name: "e/", pax: xattr("trusted.overlay.redirect", "/")}},
			inside: []string{"5 0755 0:0 d", "5 0755 0:0 e"}},
		{name: "labels of the host", ents: []ent{{name: "f", pax: xattr("security.selinux", "x")}}, inside: []string{`0 0644 0:0 f ""`}},
		{name: "large attribute", ents: []ent{{name: "f", pax: xattr("user.x", strings.Repeat("x", 65537))}}, refuse: "larger than 65536"},
		{name: "long component", ents: []ent{{name: strings.Repeat("n", 256)}}, refuse: "longer than 255"},
		{name: "long path", ents: []ent{{name: strings.Repeat("n/", 2048) + "x"}}, refuse: "longer than 4095"},
		{name: "long link target", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: strings.Repeat("n", 4096)}}, refuse: "longer than 4095"},
		{name: "link to nothing", ents: []ent{{raw: rawEntry("l", '2', "")}}, refuse: "symbolic link to nothing"},
		{name: "whiteout in a root file system", ents: []ent{{name: ".wh.etc"}}, refuse: "removed file"},
		{name: "below a whiteout", ents: []ent{{name: ".wh.etc/passwd"}}, refuse: "removed file"},
		{name: "whiteout of dot dot", ents: []ent{{name: ".wh..."}}, refuse: "cannot remove", layer: true},
		{name: "whiteout of dot", ents: []ent{{name: ".wh.."}}, refuse: "cannot remove", layer: true},
		{name: "whiteout of nothing", ents: []ent{{name: ".wh."}}, refuse: "cannot remove", layer: true},
		{name: "whiteout through link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "l/.wh.file"}},
			inside: []string{"2 0777 0:0 l -> " + outside}, layer: true},
		{name: "opaque through link", ents: []ent{{name: "l", typ: tar.TypeSymlink, link: outside}, {name: "l/.wh..wh..opq"}},
			inside: []string{"2 0777 0:0 l -> " + outside}, layer: true},
		{name: "below a whiteout in a layer", ents: []ent{{name: ".wh.a/b"}}, refuse: "removed file", layer: true},
		{name: "too many entries", ents: []ent{{name: "a"}, {name: "b"}, {name: "c"}}, refuse: "more than 2 entries", limits: Limits{Entries: 2}},
		{name: "too many bytes", ents: []ent{{name: "a", body: "12345"}, {name: "b", body: "123456"}}, refuse: "more than 10 bytes", limits: Limits{Bytes: 10}},
		{name: "huge size", ents: []ent{{raw: hugeEntry()}}, refuse: "unpacks to more than", limits: Limits{Bytes: 4 << 30}},
		{name: "negative size", ents: []ent{{raw: negativeEntry()}}, refuse: "tar"},
		{name: "PAX size larger than the archive", ents: []ent{{raw: paxEntry("size", "100000")}}, refuse: "cut short"},
		{name: "PAX path that climbs", ents: []ent{{raw: paxEntry("path", "../outside/new")}}, refuse: `".."`},
		{name: "PAX path with NUL", ents: []ent{{raw: paxEntry("path", "a\x00b")}}, refuse: "tar"},
		{name: "GNU long name that climbs", ents: []ent{{raw: rawEntry("././@LongLink", 'L', "../outside/new\x00")}, {raw: rawEntry("a", '0', "")}}, refuse: `".."`},
		{name: "data after the end", ents: []ent{{name: "a"}, {raw: make([]byte, 1024)}, {name: "b"}}, refuse: "after the end"},
		{name: "bad checksum", ents: []ent{{raw: bytes.Repeat([]byte{'x'}, 512)}}, refuse: "tar"},
	}
}

func hugeEntry() []byte {
	h := header{name: "a", mode: 0o644, typeflag: '0'}
	h.size = maxOctal
	return h.appendTo(nil)
}

func negativeEntry() []byte {
	h := header{name: "a", mode: 0o644, typeflag: '0'}
	b := h.appendTo(nil)
	for i := 124; i < 136; i++ {
		b[i] = 0xff // -1 in base 256
	}
	return b
}

func paxEntry(key, value string) []byte {
	b := rawEntry("x", 'x', paxRecord(key, value))
	return append(b, rawEntry("a", '0', "")...)
}

func TestUnpackHostile(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		outside := mkdir(t, t.TempDir(), "outside")
		for i, c := range hostileCases(outside) {
			t.Run(c.name, func(t *testing.T) {
				dir := mkdir(t, filepath.Dir(outside), fmt.Sprint(i))
				t.Chdir(outside)
				write(t, outside+"/file", "canary")
				mkdir(t, outside, "dir")
				c.run(t, mkdir(t, dir, "root"), outside)
			})
		}
	})
}

func (c *hostile) run(t *testing.T, root, outside string) {
	before := state(t, outside)
	_, err := Unpack(context.Background(), root, bytes.NewReader(archive(t, c.ents...)), UnpackOptions{Layer: c.layer, Limits: c.limits})
	if after := state(t, outside); after != before {
		t.Errorf("outside was\n%s\nand is\n%s", before, after)
	}
	if names, _ := os.ReadDir(filepath.Dir(root)); len(names) != 1 {
		t.Errorf("beside the root appeared %v", names)
	}
	if c.refuse == "" {
		check(t, err)
		wantList(t, root, c.inside...)
		return
	}
	if err == nil || !strings.Contains(err.Error(), c.refuse) {
		t.Errorf("error %v, want one with %q", err, c.refuse)
	}
	var entry *EntryError
	if !errors.As(err, &entry) && !strings.Contains(fmt.Sprint(err), "tar") {
		t.Errorf("error %v names no entry", err)
	}
}

// A bomb must be stopped by what is read, not by what its headers promise, whatever it is made of.
func TestUnpackBombs(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		zeros := strings.Repeat("\x00", 96<<20)
		comment := paxEntry("comment", strings.Repeat("x", 1<<20-100))
		for name, data := range map[string][]byte{
			"contents":       archive(t, ent{name: "zeros", body: zeros}),
			"headers":        archive(t, ent{raw: bytes.Repeat(comment, 96)}),
			"after the end":  append(archive(t, ent{name: "a"}), zeros...),
			"holes":          archive(t, ent{raw: sparseEntry(7 << 30)}),
			"many small":     archive(t, ent{raw: bytes.Repeat(rawEntry("f", '0', zeros[:1<<20]), 96)}),
			"global headers": archive(t, ent{raw: bytes.Repeat(rawEntry("g", 'g', paxRecord("comment", strings.Repeat("x", 1<<20-100))), 96)}),
		} {
			t.Run(name, func(t *testing.T) {
				data := compressGzip(t, data)
				_, err := Unpack(context.Background(), t.TempDir(), bytes.NewReader(data), UnpackOptions{})
				if err == nil || !strings.Contains(err.Error(), "200 times its size") {
					t.Errorf("error %v, want the ratio", err)
				}
				_, err = Unpack(context.Background(), t.TempDir(), bytes.NewReader(data), UnpackOptions{Limits: Limits{Bytes: 32 << 20, Ratio: 1 << 40}})
				if err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes") {
					t.Errorf("error %v, want the size", err)
				}
			})
		}
	})
}

// sparseEntry is a file of one hole, in GNU's old format.
func sparseEntry(size int64) []byte {
	h := header{name: "hole", mode: 0o644, typeflag: 'S'}
	b := h.appendTo(nil)
	copy(b[257:265], "ustar  \x00")
	for i := 345; i < blockSize; i++ {
		b[i] = 0
	}
	octal(b[483:495], size)
	octal(b[386:398], size) // one segment at the end, without bytes
	octal(b[398:410], 0)
	copy(b[148:156], "        ")
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:155], sum)
	return b
}

// Every whiteout and opaque mark is cheap, though the directory it is about is large.
func TestUnpackManyMarks(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		var files, marks []ent
		for i := range 4_000 {
			files = append(files, ent{name: fmt.Sprintf("d/%d", i)})
			marks = append(marks, ent{name: "d/.wh..wh..opq"}, ent{name: ".wh.d"})
		}
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t, ent{name: "d/"}, ent{name: "d/old"}), UnpackOptions{Layer: true})
		begin := time.Now()
		mustUnpack(t, dir, archive(t, append(files, marks...)...), UnpackOptions{Layer: true})
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(list(t, dir)); n != 4_001 {
			t.Errorf("%d entries are left", n)
		}
	})
}
