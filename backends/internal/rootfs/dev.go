package rootfs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// device is a device node of the container: the host's own, bound, or one that is made where that is allowed.
type device struct {
	path string
	node *rspec.LinuxDevice // nil: bound
	fd   rawproc.Reg
}

// parseDevices adds the devices every container has (config-linux.md, Default Devices) to the spec's.
func (b *Builder) parseDevices() error {
	for i := range b.plan.Spec.Linux.Devices {
		d := &b.plan.Spec.Linux.Devices[i]
		if !path.IsAbs(d.Path) || strings.HasSuffix(d.Path, "/") {
			return fmt.Errorf("device %q is not an absolute path", d.Path)
		}
		if deviceKind(d.Type) == 0 {
			return fmt.Errorf("device %s has no type %q", d.Path, d.Type)
		}
		switch {
		case b.initial:
			b.devices = append(b.devices, device{path: d.Path, node: d})
		case sameDevice(d):
			b.devices = append(b.devices, device{path: d.Path})
		case d.Type == "p":
			b.devices = append(b.devices, device{path: d.Path, node: d})
		default:
			return fmt.Errorf("the host has no device %s %d:%d at %s, and only root can make one", d.Type, d.Major, d.Minor, d.Path)
		}
	}
	for _, d := range defaultDevices() {
		if slices.ContainsFunc(b.devices, func(own device) bool { return path.Clean(own.path) == d.Path }) {
			continue
		}
		if b.initial {
			b.devices = append(b.devices, device{path: d.Path, node: &d})
		} else {
			b.devices = append(b.devices, device{path: d.Path})
		}
	}
	return nil
}

func defaultDevices() []rspec.LinuxDevice {
	list := []rspec.LinuxDevice{
		{Path: "/dev/null", Major: 1, Minor: 3}, {Path: "/dev/zero", Major: 1, Minor: 5}, {Path: "/dev/full", Major: 1, Minor: 7},
		{Path: "/dev/random", Major: 1, Minor: 8}, {Path: "/dev/urandom", Major: 1, Minor: 9}, {Path: "/dev/tty", Major: 5, Minor: 0},
	}
	for i := range list {
		list[i].Type = "c"
	}
	return list
}

// deviceKind is a device's type as mknod(2) takes it, 0 when there is none.
func deviceKind(name string) uint32 {
	switch name {
	case "c", "u":
		return unix.S_IFCHR
	case "b":
		return unix.S_IFBLK
	case "p":
		return unix.S_IFIFO
	}
	return 0
}

// sameDevice says whether the host has the device at the same path.
func sameDevice(d *rspec.LinuxDevice) bool {
	var st unix.Stat_t
	if unix.Stat(d.Path, &st) != nil {
		return false
	}
	kind := deviceKind(d.Type)
	return kind == st.Mode&unix.S_IFMT && (kind == unix.S_IFIFO || int64(unix.Major(st.Rdev)) == d.Major && int64(unix.Minor(st.Rdev)) == d.Minor)
}

func (b *Builder) openDevice(d *device) {
	if d.node != nil {
		return
	}
	d.fd = b.Reg()
	b.Call("open "+d.path, unix.SYS_OPEN_TREE, rawproc.Int(unix.AT_FDCWD), rawproc.Str(d.path), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).Into(d.fd)
}

// ensureDev opens the /dev of a root file system where the document mounts nothing there.
func (b *Builder) ensureDev() {
	if !b.plan.Foreign || b.dev != 0 {
		return
	}
	for _, m := range b.mounts {
		if path.Clean(m.target) == "/dev" {
			return
		}
	}
	b.dev = nsproc.Target(b.Program, b.root, "dev", "/dev", true, nsproc.Beneath)
}

// fillDev puts devices and the usual links into the container's own /dev.
func (b *Builder) fillDev() {
	for i := range b.devices {
		b.addDevice(&b.devices[i])
	}
	for _, l := range [...][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
	} {
		b.Call("link /dev/"+l[1], unix.SYS_SYMLINKAT, rawproc.Str(l[0]), rawproc.R(b.dev), rawproc.Str(l[1])).Allow(unix.EEXIST)
	}
}

func (b *Builder) addDevice(d *device) {
	if d.node == nil {
		b.attach("bind "+d.path, d.fd, b.target(d.path, false))
		return
	}
	n := d.node
	dir, name := path.Split(path.Clean(d.path))
	parent := b.target(dir, true)
	perm, uid, gid := uint32(0o666), uint32(0), uint32(0)
	if n.FileMode != nil {
		perm = uint32(n.FileMode.Perm())
	}
	if n.UID != nil {
		uid = *n.UID
	}
	if n.GID != nil {
		gid = *n.GID
	}
	number := unix.Mkdev(uint32(n.Major), uint32(n.Minor))
	if n.Type == "p" {
		number = 0
	}
	made := b.Call("make "+d.path, unix.SYS_MKNODAT, rawproc.R(parent), rawproc.Str(name), rawproc.Int(deviceKind(n.Type)|perm), rawproc.Int(number))
	start := b.Len()
	_, node := nsproc.Lookup(b.Program, "open "+d.path, parent, name, unix.O_PATH)
	b.Call("chown "+d.path, unix.SYS_FCHOWNAT, rawproc.R(node), rawproc.Str(""), rawproc.Int(uid), rawproc.Int(gid), rawproc.Int(unix.AT_EMPTY_PATH))
	b.Call("chmod "+d.path, unix.SYS_FCHMODAT, rawproc.R(parent), rawproc.Str(name), rawproc.Int(perm))
	made.Allow(unix.EEXIST).SkipIfErr(b.Len() - start) // a root file system may have it
}
