package rootfs

import (
	"errors"
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

// flagOption is a mount option that is an attribute of a mount: set or cleared.
type flagOption struct{ set, clear uint64 }

// attribute looks a mount option up; those that begin with r are recursive (config-linux.md, Filesystem-independent mount
// options).
func attribute(name string) (o flagOption, recursive, ok bool) {
	if o, ok = flagOptions(name); ok {
		return o, false, true
	}
	rest, r := strings.CutPrefix(name, "r")
	if !r || rest == "emount" || rest == "defaults" || rest == "async" {
		return o, false, false
	}
	o, ok = flagOptions(rest)
	return o, true, ok
}

func flagOptions(name string) (flagOption, bool) {
	switch name {
	case "ro":
		return flagOption{unix.MOUNT_ATTR_RDONLY, 0}, true
	case "rw":
		return flagOption{0, unix.MOUNT_ATTR_RDONLY}, true
	case "nosuid":
		return flagOption{unix.MOUNT_ATTR_NOSUID, 0}, true
	case "suid":
		return flagOption{0, unix.MOUNT_ATTR_NOSUID}, true
	case "nodev":
		return flagOption{unix.MOUNT_ATTR_NODEV, 0}, true
	case "dev":
		return flagOption{0, unix.MOUNT_ATTR_NODEV}, true
	case "noexec":
		return flagOption{unix.MOUNT_ATTR_NOEXEC, 0}, true
	case "exec":
		return flagOption{0, unix.MOUNT_ATTR_NOEXEC}, true
	case "noatime":
		return flagOption{unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME}, true
	case "strictatime":
		return flagOption{unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME}, true
	case "relatime", "atime", "norelatime", "nostrictatime":
		return flagOption{0, unix.MOUNT_ATTR__ATIME}, true
	case "nodiratime":
		return flagOption{unix.MOUNT_ATTR_NODIRATIME, 0}, true
	case "diratime":
		return flagOption{0, unix.MOUNT_ATTR_NODIRATIME}, true
	case "nosymfollow":
		return flagOption{unix.MOUNT_ATTR_NOSYMFOLLOW, 0}, true
	case "symfollow":
		return flagOption{0, unix.MOUNT_ATTR_NOSYMFOLLOW}, true
	case "defaults", "async", "remount":
		return flagOption{}, true
	}
	return flagOption{}, false
}

// propagationOf reads a propagation by name; 0 is none.
func propagationOf(option string) (kind uint64, recursive bool) {
	rest, recursive := strings.CutPrefix(option, "r")
	switch rest {
	case "private":
		return unix.MS_PRIVATE, recursive
	case "slave":
		return unix.MS_SLAVE, recursive
	case "shared":
		return unix.MS_SHARED, recursive
	case "unbindable":
		return unix.MS_UNBINDABLE, recursive
	}
	return 0, false
}

// parse turns a mount of the spec (config.md, Mounts) into ours.
func (b *Builder) parse(m *rspec.Mount) (*mount, error) {
	if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return nil, invalid("id-mapped mounts are not supported")
	}
	out := &mount{target: m.Destination, fstype: m.Type, source: m.Source}
	for _, option := range m.Options {
		if err := out.option(option); err != nil {
			return nil, err
		}
	}
	if m.Type == "bind" && !out.bind {
		out.bind, out.recursive = true, true
	}
	switch {
	case !out.bind && out.fstype == "":
		return nil, invalid("it has no type")
	case out.bind && len(out.data) > 0 && !b.plan.Foreign:
		return nil, invalid("a bind mount has no option " + out.data[0])
	}
	if !b.plan.Foreign { // an environment's options are for everything below too
		out.deep, out.attr, out.propagateDeep = out.attr, unix.MountAttr{}, true
	}
	return out, nil
}

// option reads one option of a mount.
func (m *mount) option(name string) error {
	switch name {
	case "bind", "rbind":
		m.bind, m.recursive = true, name == "rbind"
		return nil
	case "idmap", "ridmap", "tmpcopyup":
		return invalid("the mount option " + name + " is not supported")
	}
	if p, recursive := propagationOf(name); p != 0 {
		m.propagation, m.propagateDeep = p, recursive
		return nil
	}
	o, recursive, ok := attribute(name)
	switch {
	case !ok:
		m.data = append(m.data, name)
	case recursive:
		m.deep.Attr_set = m.deep.Attr_set&^o.clear | o.set
		m.deep.Attr_clr = m.deep.Attr_clr&^o.set | o.clear
	default:
		m.attr.Attr_set = m.attr.Attr_set&^o.clear | o.set
	}
	return nil
}

func invalid(text string) error {
	return &backends.Error{Kind: backends.Invalid, Err: errors.New(text)}
}

// MountOptions are the options that are not left to file systems.
func MountOptions() []string {
	list := []string{"bind", "rbind", "defaults", "async", "remount"}
	for _, kind := range [...]string{"private", "slave", "shared", "unbindable"} {
		list = append(list, kind, "r"+kind)
	}
	for _, name := range [...]string{
		"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "strictatime", "nostrictatime", "relatime",
		"norelatime", "nodiratime", "diratime", "nosymfollow", "symfollow",
	} {
		list = append(list, name, "r"+name)
	}
	slices.Sort(list)
	return list
}
