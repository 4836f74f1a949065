package fstree

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The attributes that hold access control lists, acl(5). Their ids are those of the reading process's user namespace.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// tags of entries, linux/posix_acl.h
const (
	aclUserOwner  = 0x01
	aclUser       = 0x02
	aclGroupOwner = 0x04
	aclGroup      = 0x08
	aclMask       = 0x10
	aclOther      = 0x20
)

const (
	aclVersion   = 2
	aclEntrySize = 8
	aclNoID      = 0xffffffff
)

var errACL = errors.New("malformed access control list")

// checkACL refuses a list that does not mean the same everywhere: one with an id that this user namespace has not.
func checkACL(value string) error {
	if len(value) < 4 || len(value)%aclEntrySize != 4 || binary.LittleEndian.Uint32([]byte(value)) != aclVersion {
		return errACL
	}
	for entries := []byte(value[4:]); len(entries) > 0; entries = entries[aclEntrySize:] {
		tag, id := binary.LittleEndian.Uint16(entries), binary.LittleEndian.Uint32(entries[4:])
		if (tag == aclUser || tag == aclGroup) && id == aclNoID {
			return errors.New("an access control list names a user or group that has no place in this user namespace")
		}
	}
	return nil
}

// parseACL reads the text form of acl(5), as tar programs write it into archives, with numbers for users and groups.
func parseACL(text string) (string, error) {
	var entries [][3]uint32 // tag, permissions, id
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		e, err := parseACLEntry(strings.Split(strings.TrimSpace(part), ":"))
		if err != nil {
			return "", fmt.Errorf("access control entry %.60q: %w", part, err)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b [3]uint32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[2], b[2])) })
	value := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		value = binary.LittleEndian.AppendUint16(value, uint16(e[0]))
		value = binary.LittleEndian.AppendUint16(value, uint16(e[1]))
		value = binary.LittleEndian.AppendUint32(value, e[2])
	}
	return string(value), nil
}

// parseACLEntry reads kind:who:permissions, and the number that some tars put behind a name.
func parseACLEntry(f []string) (e [3]uint32, err error) {
	if len(f) < 3 || len(f) > 4 {
		return e, errACL
	}
	kinds := map[string][2]uint32{"user": {aclUserOwner, aclUser}, "group": {aclGroupOwner, aclGroup}, "mask": {aclMask}, "other": {aclOther}}
	kind, ok := kinds[f[0]]
	if !ok {
		return e, errACL
	}
	e[0], e[2] = kind[0], aclNoID
	if f[1] != "" {
		if kind[1] == 0 {
			return e, errACL
		}
		who := f[1]
		if len(f) == 4 {
			who = f[3]
		}
		id, err := strconv.ParseUint(who, 10, 32)
		if err != nil || id == aclNoID {
			return e, errors.New("it names somebody whom this archive gives no number: pack it with bsdtar, which writes both")
		}
		e[0], e[2] = kind[1], uint32(id)
	}
	for i, c := range f[2] {
		switch {
		case i > 2:
			return e, errACL
		case c == rune("rwx"[i]):
			e[1] |= 4 >> i
		case c != '-':
			return e, errACL
		}
	}
	return e, nil
}

// putOff takes the default list out of a directory's attributes, to be set when all is made.
func (x *extractor) putOff(name string, all []xattr) ([]xattr, error) {
	i := slices.IndexFunc(all, func(a xattr) bool { return a.name == aclDefault })
	if i < 0 {
		delete(x.defaults, name)
		return all, nil
	}
	if x.layer {
		return nil, errors.New("default access control lists in layers of an image cannot be kept: what the next layer adds would inherit them")
	}
	if x.defaults == nil {
		x.defaults = map[string]string{}
	}
	x.defaults[name] = all[i].value
	return slices.Delete(slices.Clone(all), i, i+1), nil
}

// setDefaults sets what was put off, on directories that are still there.
func (x *extractor) setDefaults() error {
	for name, value := range x.defaults {
		fd, err := openDir(x.root, name)
		if err != nil {
			continue // it was replaced by something else
		}
		err = unix.Fsetxattr(fd, aclDefault, []byte(value), 0)
		unix.Close(fd)
		if err != nil {
			return entryError(name, fmt.Errorf("set default access control list: %w", err))
		}
	}
	return nil
}
