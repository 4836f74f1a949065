package namespace

import (
	"fmt"
	"path"
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
func (b *builder) parseDevices() error {
	for _, name := range [...]string{"null", "zero", "full", "random", "urandom", "tty"} {
		b.devices = append(b.devices, device{path: "/dev/" + name})
	}
	for i := range b.plan.Spec.Linux.Devices {
		d := &b.plan.Spec.Linux.Devices[i]
		if !path.IsAbs(d.Path) || strings.HasSuffix(d.Path, "/") {
			return fmt.Errorf("device %q is not an absolute path", d.Path)
		}
		switch {
		case sameDevice(d):
			b.devices = append(b.devices, device{path: d.Path})
		case b.initial:
			b.devices = append(b.devices, device{path: d.Path, node: d})
		default:
			return fmt.Errorf("the host has no device %s %d:%d at %s, and only root can make one", d.Type, d.Major, d.Minor, d.Path)
		}
	}
	return nil
}

// sameDevice says whether the host has the device at the same path.
func sameDevice(d *rspec.LinuxDevice) bool {
	var st unix.Stat_t
	if unix.Stat(d.Path, &st) != nil {
		return false
	}
	kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b", unix.S_IFIFO: "p"}[st.Mode&unix.S_IFMT]
	want := d.Type
	if want == "u" {
		want = "c"
	}
	return kind == want && (kind == "p" || int64(unix.Major(st.Rdev)) == d.Major && int64(unix.Minor(st.Rdev)) == d.Minor)
}

func (b *builder) openDevice(d *device) {
	if d.node != nil {
		return
	}
	d.fd = b.Reg()
	b.Call("open "+d.path, unix.SYS_OPEN_TREE, rawproc.Int(unix.AT_FDCWD), rawproc.Str(d.path), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).Into(d.fd)
}

// fillDev puts devices and the usual links into the container's own /dev.
func (b *builder) fillDev() {
	for i := range b.devices {
		b.addDevice(&b.devices[i])
	}
	for _, l := range [...][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
	} {
		b.Call("link /dev/"+l[1], unix.SYS_SYMLINKAT, rawproc.Str(l[0]), rawproc.R(b.dev), rawproc.Str(l[1])).Allow(unix.EEXIST)
	}
}

func (b *builder) addDevice(d *device) {
	if d.node == nil {
		b.attach("bind "+d.path, d.fd, b.target(d.path, false))
		return
	}
	dir, name := path.Split(d.path)
	parent := b.target(dir, true)
	mode := map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}[d.node.Type]
	perm, uid, gid := uint32(0o666), uint32(0), uint32(0)
	if d.node.FileMode != nil {
		perm = uint32(d.node.FileMode.Perm())
	}
	if d.node.UID != nil {
		uid = *d.node.UID
	}
	if d.node.GID != nil {
		gid = *d.node.GID
	}
	b.Call("make "+d.path, unix.SYS_MKNODAT, rawproc.R(parent), rawproc.Str(name), rawproc.Int(mode|perm), rawproc.Int(unix.Mkdev(uint32(d.node.Major), uint32(d.node.Minor))))
	_, node := nsproc.Lookup(b.Program, "open "+d.path, b.root, strings.TrimPrefix(d.path, "/"), unix.O_PATH)
	b.Call("chown "+d.path, unix.SYS_FCHOWNAT, rawproc.R(node), rawproc.Str(""), rawproc.Int(uid), rawproc.Int(gid), rawproc.Int(unix.AT_EMPTY_PATH))
	b.Call("chmod "+d.path, unix.SYS_FCHMODAT, rawproc.R(parent), rawproc.Str(name), rawproc.Int(perm))
}
