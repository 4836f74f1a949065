package fstree

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// acl makes the binary form of a list from tag, permissions and id of each entry.
func acl(entries ...[3]uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

var userSeven = acl([3]uint32{aclUserOwner, 6, aclNoID}, [3]uint32{aclUser, 4, 7}, [3]uint32{aclGroupOwner, 4, aclNoID}, [3]uint32{aclMask, 4, aclNoID}, [3]uint32{aclOther, 4, aclNoID})

func TestParseACL(t *testing.T) {
	for text, want := range map[string]string{
		"user::rw-,user:7:r--,group::r--,mask::r--,other::r--":                         userSeven,
		"other::r--\nuser::rw-\nmask::r--\ngroup::r--\nuser:7:r--\n":                   userSeven,
		"user::rw-,user:daemon:r--:7,group::r--,mask::r--,other::r--":                  userSeven,
		"user::rwx,group::---,other::--x":                                              acl([3]uint32{1, 7, aclNoID}, [3]uint32{4, 0, aclNoID}, [3]uint32{0x20, 1, aclNoID}),
		"user::rwx,group::r-x,group:9:-w-,group:8:rwx,mask::rwx,other::---,user:1:r--": acl([3]uint32{1, 7, aclNoID}, [3]uint32{2, 4, 1}, [3]uint32{4, 5, aclNoID}, [3]uint32{8, 7, 8}, [3]uint32{8, 2, 9}, [3]uint32{16, 7, aclNoID}, [3]uint32{32, 0, aclNoID}),
	} {
		got, err := parseACL(text)
		if err != nil || got != want {
			t.Errorf("%q: %x, %v, want %x", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"user:daemon:r--": "bsdtar", "user:4294967295:r--": "bsdtar", "mask:3:rwx": "malformed", "me::rwx": "malformed",
		"user": "malformed", "user::rwxr": "malformed", "user::xwr": "malformed", "user:::::": "malformed", "user::rw-:7:8": "malformed",
	} {
		if _, err := parseACL(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one about %s", text, err, want)
		}
	}
}

// Access control lists are kept: from an archive to the tree, from the tree to the canonical archive, and back.
func TestACL(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		dir := t.TempDir()
		mustUnpack(t, dir, archive(t,
			ent{name: "d/", pax: map[string]string{"SCHILY.acl.default": "user::rwx,user:7:r-x,group::r-x,mask::r-x,other::r-x"}},
			ent{name: "d/inherits-not", body: "x"},
			ent{name: "d/sub/"},
			ent{name: "f", body: "x", pax: map[string]string{"SCHILY.acl.access": "user::rw-,user:7:r--,group::r--,mask::r--,other::r--"}},
			ent{name: "g", body: "x", pax: map[string]string{"SCHILY.xattr." + aclAccess: userSeven}},
		), UnpackOptions{})
		for name, want := range map[string]string{"f": userSeven, "g": userSeven, "d/inherits-not": "", "d/sub": ""} {
			if got := attribute(t, filepath.Join(dir, name), aclAccess); got != want {
				t.Errorf("%s has %x, want %x", name, got, want)
			}
		}
		if attribute(t, filepath.Join(dir, "d"), aclDefault) == "" || attribute(t, filepath.Join(dir, "d/sub"), aclDefault) != "" {
			t.Error("the default list is not on d alone")
		}
		mustNormalise(t, dir, NormaliseOptions{Epoch: epoch})
		first, _, err := Digest(context.Background(), dir)
		check(t, err)
		var tar strings.Builder
		_, _, err = WriteTar(context.Background(), &tar, dir)
		check(t, err)
		again := t.TempDir()
		mustUnpack(t, again, []byte(tar.String()), UnpackOptions{})
		mustNormalise(t, again, NormaliseOptions{Epoch: epoch})
		if second, _, err := Digest(context.Background(), again); err != nil || second != first {
			t.Errorf("unpacked again it is %s, %v; it was %s", second, err, first)
		}
		check(t, unix.Setxattr(filepath.Join(dir, "f"), aclAccess, []byte(strings.Replace(userSeven, "\x07", "\x08", 1)), 0))
		if other, _, err := Digest(context.Background(), dir); err != nil || other == first {
			t.Error("another list gives the same layer")
		}
	})
}

// A list that would have to be guessed is refused, never dropped.
func TestACLRefused(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		for want, e := range map[string]ent{
			"bsdtar":    {name: "f", pax: map[string]string{"SCHILY.acl.access": "user::rw-,user:daemon:r--,group::r--,mask::r--,other::r--"}},
			"malformed": {name: "f", pax: map[string]string{"SCHILY.xattr." + aclAccess: "x"}},
			"no place":  {name: "f", pax: map[string]string{"SCHILY.xattr." + aclAccess: acl([3]uint32{aclUser, 4, aclNoID})}},
		} {
			_, err := Unpack(context.Background(), t.TempDir(), strings.NewReader(string(archive(t, e))), UnpackOptions{})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one about %q", err, want)
			}
		}
		_, err := Unpack(context.Background(), t.TempDir(), strings.NewReader(string(archive(t,
			ent{name: "d/", pax: map[string]string{"SCHILY.acl.default": "user::rwx,group::r-x,other::r-x"}}))), UnpackOptions{Layer: true})
		if err == nil || !strings.Contains(err.Error(), "layers of an image") {
			t.Errorf("default list in a layer: %v", err)
		}
	})
}

// GNU tar's own archives of lists are understood.
func TestACLFromTar(t *testing.T) {
	if out, err := exec.Command("tar", "--acls", "--version").CombinedOutput(); err != nil {
		t.Skipf("tar knows no --acls here: %s", out)
	}
	nstest.Both(t, func(t *testing.T) {
		from, dir := t.TempDir(), t.TempDir()
		write(t, from+"/f", "x")
		nameless := strings.Replace(userSeven, "\x07\x00", "\x92\x10", 1) // tar puts names for numbers that have some here
		check(t, unix.Setxattr(from+"/f", aclAccess, []byte(nameless), 0))
		packed, err := exec.Command("tar", "--acls", "--numeric-owner", "-C", from, "-cf", "-", ".").Output()
		check(t, err)
		mustUnpack(t, dir, packed, UnpackOptions{})
		if got := attribute(t, dir+"/f", aclAccess); got != nameless {
			t.Errorf("the list is %x, want %x", got, nameless)
		}
	})
}

func attribute(t *testing.T, path, name string) string {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	value, err := getXattr(int(f.Fd()), name)
	check(t, err)
	return value
}
