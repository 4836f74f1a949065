package fstree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	capabilityXattr = "security.capability"
	trustedOverlay  = "trusted.overlay."
	userOverlay     = "user.overlay."
	fuseOverlay     = "user.fuseoverlayfs."
)

// xattr is one extended attribute.
type xattr struct {
	name  string
	value string
}

// kept tells whether an extended attribute belongs to a tree, on a file or a directory.
func kept(name string, dir bool) bool {
	switch name {
	case capabilityXattr:
		return !dir
	case aclAccess:
		return true
	case aclDefault:
		return dir
	}
	if !strings.HasPrefix(name, "user.") || strings.ContainsRune(name, '=') { // PAX cannot tell such a name from its value
		return false
	}
	for _, p := range []string{userOverlay, fuseOverlay, "user.containers.", "user.Librepo."} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	return true
}

// foreign tells whether an attribute that is not kept must also go from the disk, since it changes how the tree is read.
// The others (labels, properties of the file system) belong to the host.
func foreign(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, trustedOverlay)
}

// listXattrs gives the names of all extended attributes, sorted.
func listXattrs(fd int) ([]string, error) {
	var small [256]byte
	buf := small[:]
	for {
		n, err := unix.Flistxattr(fd, buf)
		switch {
		case err == unix.ERANGE:
			if n, err = unix.Flistxattr(fd, nil); err != nil {
				return nil, fmt.Errorf("list extended attributes: %w", err)
			}
			buf = make([]byte, n+1024)
		case err == unix.ENOTSUP, err == nil && n == 0:
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("list extended attributes: %w", err)
		default:
			names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
			slices.Sort(names)
			return names, nil
		}
	}
}

// getXattr reads one attribute; a missing one is "".
func getXattr(fd int, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		switch {
		case err == unix.ERANGE:
			buf = make([]byte, 64<<10) // the kernel's limit, XATTR_SIZE_MAX
		case err == unix.ENODATA, err == unix.ENOTSUP:
			return "", nil
		case err != nil:
			return "", fmt.Errorf("read extended attribute %s: %w", name, err)
		default:
			return string(buf[:n]), nil
		}
	}
}

// keptXattrs reads the attributes that belong to the tree, sorted by name.
func keptXattrs(fd int, dir bool) ([]xattr, error) { return readXattrs(fd, dir, canonicalXattr) }

func readXattrs(fd int, dir bool, canonical func(name, value string) (string, error)) ([]xattr, error) {
	names, err := listXattrs(fd)
	if err != nil {
		return nil, err
	}
	var all []xattr
	for _, name := range names {
		if !kept(name, dir) {
			continue
		}
		value, err := getXattr(fd, name)
		if err != nil {
			return nil, err
		}
		if value, err = canonical(name, value); err != nil {
			return nil, err
		}
		all = append(all, xattr{name, value})
	}
	return all, nil
}

// canonicalXattr gives the one form of a kept attribute's value.
func canonicalXattr(name, value string) (string, error) {
	switch name {
	case capabilityXattr:
		return capabilityV2(value)
	case aclAccess, aclDefault:
		return value, checkACL(value)
	}
	return value, nil
}

// setXattrs makes the kept attributes of a file or directory exactly want.
func setXattrs(fd int, dir bool, want []xattr) error {
	for _, x := range want {
		if err := unix.Fsetxattr(fd, x.name, []byte(x.value), 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", x.name, err)
		}
	}
	names, err := listXattrs(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if kept(name, dir) && !slices.ContainsFunc(want, func(x xattr) bool { return x.name == name }) {
			if err := removeXattr(fd, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeXattr(fd int, name string) error {
	if err := unix.Fremovexattr(fd, name); err != nil && err != unix.ENODATA {
		return fmt.Errorf("remove extended attribute %s: %w", name, err)
	}
	return nil
}

var errCapability = errors.New("malformed file capability")

// capabilityV2 drops the owning user namespace from a file capability: struct vfs_ns_cap_data in linux/capability.h.
// Revision 1, which no tool has written since 2008, is refused.
func capabilityV2(value string) (string, error) {
	const revision2, revision3, effective = 0x02000000, 0x03000000, 1
	if len(value) < 4 {
		return "", errCapability
	}
	magic := binary.LittleEndian.Uint32([]byte(value[:4]))
	switch {
	case magic&^effective == revision2 && len(value) == 20:
		return value, nil
	case magic&^effective == revision3 && len(value) == 24:
		return string(binary.LittleEndian.AppendUint32(nil, revision2|magic&effective)) + value[4:20], nil
	default:
		return "", errCapability
	}
}
