package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func errnos(e ...unix.Errno) []unix.Errno { return e }

func mountEscapes() []escape {
	refused := errnos(unix.EPERM)
	locked := errnos(unix.EPERM, unix.EINVAL, unix.EACCES)
	mount := func(source, target, kind string, flags uintptr) func(escapeHost) error {
		return func(escapeHost) error { return unix.Mount(source, target, kind, flags, "") }
	}
	return []escape{
		{"mounts", "mount a file system", refused, mount("none", "/tmp", "tmpfs", 0)},
		{"mounts", "bind the first process's root, and what is above it", refused, mount("/proc/1/root/../..", "/tmp", "", unix.MS_BIND)},
		{"mounts", "make /sys writable", refused, func(escapeHost) error { return remount("/sys") }},
		{"mounts", "take off what covers /proc/keys", refused, func(escapeHost) error { return unix.Unmount("/proc/keys", unix.MNT_DETACH) }},
		{"mounts", "clone the tree of mounts", refused, call(unix.SYS_OPEN_TREE, 0xffffffffffffff9c, textAt("/"), unix.OPEN_TREE_CLONE)},
		{"mounts", "make a file system unattached", refused, call(unix.SYS_FSOPEN, textAt("tmpfs"), 0)},
		{"mounts", "pivot the root", refused, call(unix.SYS_PIVOT_ROOT, textAt("/"), textAt("/"))},
		{"mounts", "leave a root of one's own by ..", nil, chrootAndUp},
		{"user namespaces", "a mount namespace without one", refused, call(unix.SYS_UNSHARE, unix.CLONE_NEWNS)},
		{"user namespaces", "make /sys writable in one", locked, nested("remount", 0)},
		{"user namespaces", "make /proc/sys writable in one", locked, nested("sysctl", 0)},
		{"user namespaces", "uncover /proc/keys in one", locked, nested("unmask", 0)},
		{"user namespaces", "uncover /sys/firmware in one", locked, nested("uncover", 0)},
		{"user namespaces", "a /proc with nothing covered in one", locked, nested("proc", unix.CLONE_NEWPID)},
		{"user namespaces", "a /sys with nothing covered in one", locked, nested("sysfs", unix.CLONE_NEWNET)},
		{"user namespaces", "a device node in one", locked, nested("device", 0)},
		{"user namespaces", "a block device's file system in one", errnos(unix.EPERM, unix.EACCES, unix.ENODEV, unix.ENOTBLK), nested("block", 0)},
		{"user namespaces", "the host's name from one", locked, nested("host", 0)},
		{"user namespaces", "the host's root behind a root of one's own in one", locked, nested("pivot", 0)},
		{"control groups", "a release agent from a user namespace", errnos(unix.EPERM, unix.EACCES, unix.ENOENT, unix.EBUSY, unix.EROFS), nested("release", unix.CLONE_NEWCGROUP)},
		{"control groups", "a group of one's own among the host's, from a user namespace", errnos(unix.EPERM, unix.EACCES), nested("groups", unix.CLONE_NEWCGROUP)},
	}
}

// textAt is the address of a C string that lasts.
func textAt(s string) uintptr {
	text := append([]byte(s), 0)
	pinnedTexts = append(pinnedTexts, text)
	return uintptr(unsafe.Pointer(&text[0]))
}

// pinnedTexts is what the kernel is told addresses of.
var pinnedTexts [][]byte

// chrootAndUp is the old way out of a chroot, for who may call that.
func chrootAndUp(escapeHost) error {
	own, err := place("/")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "root")
	if err == nil {
		err = unix.Chroot(dir)
	}
	if err != nil {
		return err
	}
	up := unix.Chdir(strings.Repeat("../", 64))
	back := errors.Join(up, unix.Chroot("."))
	if at, err := place("/"); back != nil || err != nil || at != own {
		return errors.Join(fmt.Errorf("it leads to %v", at), back, err)
	}
	return errMissing // the root of the environment again
}

func fileEscapes() []escape {
	readonly := errnos(unix.EROFS, unix.EACCES, unix.EPERM, unix.ENOENT)
	var list []escape
	for _, path := range []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/kernel/sysrq",
		"/proc/sys/vm/overcommit_memory", "/proc/sys/fs/binfmt_misc/register", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper", "/sys/power/state",
		"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs",
	} {
		list = append(list, escape{"/proc and /sys", "write " + path, readonly, writing(path)})
	}
	for _, path := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/proc/scsi", "/proc/interrupts", "/sys/firmware", "/sys/dev/block"} {
		list = append(list, escape{"/proc and /sys", "read " + path, nil, empty(path)})
	}
	for _, path := range []string{"/dev/mem", "/dev/kmsg", "/dev/port", "/dev/sda", "/dev/vda", "/dev/loop-control", "/dev/kvm", "/dev/fuse", "/dev/input", "/dev/tty0", "/dev/net/tun"} {
		list = append(list, escape{"devices", "open " + path, errnos(unix.ENOENT), func(escapeHost) error { return openAs(path, unix.O_RDONLY) }})
	}
	mknod := func(kind uint32, major, minor uint32) func(escapeHost) error {
		return func(escapeHost) error { return unix.Mknod("/tmp/node", kind|0o666, int(unix.Mkdev(major, minor))) }
	}
	return append(list,
		escape{"devices", "make a character device", errnos(unix.EPERM), mknod(unix.S_IFCHR, 1, 1)},
		escape{"devices", "make a block device", errnos(unix.EPERM), mknod(unix.S_IFBLK, 8, 0)},
		escape{"control groups", "make a group", readonly, func(escapeHost) error { return unix.Mkdir("/sys/fs/cgroup/escaped", 0o755) }},
		escape{"control groups", "make a group of a hierarchy of version 1", readonly, func(escapeHost) error { return unix.Mkdir("/sys/fs/cgroup/memory/escaped", 0o755) }},
		escape{"runtime's binary", "write to the first process's program", errnos(unix.EACCES, unix.ETXTBSY, unix.EROFS, unix.EPERM, unix.ENOENT), writing("/proc/1/exe")},
		escape{"descriptors", "find one that leads out", nil, leaked},
		escape{"descriptors", "go up from the root", nil, func(escapeHost) error {
			up, err := place("/../../../..")
			if own, _ := place("/"); err == nil && own == up {
				return errMissing
			}
			return err
		}},
		escape{"variables", "find one of the host's", nil, leakedVariables},
	)
}

// leaked looks for descriptors of the host's among all that are open.
func leaked(host escapeHost) error {
	links, err := filepath.Glob("/proc/*/fd/*")
	if err != nil {
		return err
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err == nil && (strings.Contains(to, filepath.Base(host.secret)) || strings.Contains(to, ".local/share/karapace")) {
			fmt.Println(link, to)
			return nil
		}
	}
	return errMissing
}

func leakedVariables(escapeHost) error {
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LD_") || strings.Contains(value, "of-the-host") || strings.Contains(name, "BASH") || name == "ENV" {
			fmt.Println(v)
			return nil
		}
	}
	return errMissing
}

func processEscapes() []escape {
	gone := errnos(unix.ESRCH)
	return []escape{
		{"processes", "signal one of the host's", gone, func(h escapeHost) error { return unix.Kill(h.pid, 0) }},
		{"processes", "trace one of the host's", gone, func(h escapeHost) error { return unix.PtraceAttach(h.pid) }},
		{"processes", "a descriptor of one of the host's", gone, func(h escapeHost) error { return call(unix.SYS_PIDFD_OPEN, uintptr(h.pid), 0)(h) }},
		{"processes", "memory of one of the host's", errnos(unix.ENOENT), func(h escapeHost) error { return openAs(fmt.Sprintf("/proc/%d/mem", h.pid), unix.O_RDWR) }},
		{"processes", "find one that is in another root, or the supervisor", nil, outsiders},
		{"namespaces", "the parent of the user namespace", errnos(unix.EPERM), parentNamespace("user")},
		{"namespaces", "the parent of the namespace of processes", errnos(unix.EPERM), parentNamespace("pid")},
		{"namespaces", "join those of the first process", errnos(unix.EPERM, unix.EACCES, unix.EINVAL), joinFirst},
		{"namespaces", "the host's name", errnos(unix.EPERM), func(escapeHost) error { return unix.Sethostname([]byte("escaped")) }},
		{"namespaces", "the host's domain", errnos(unix.EPERM), func(escapeHost) error { return unix.Setdomainname([]byte("escaped")) }},
		{"privileges", "no_new_privs is not set", nil, func(escapeHost) error { return wanted(status("NoNewPrivs"), "1") }},
		{"privileges", "capabilities beyond the twelve", nil, func(escapeHost) error { return wanted(status("CapBnd"), "00000000a00405fb") }},
		{"privileges", "a filter is not set", nil, func(escapeHost) error { return wanted(status("Seccomp"), "2") }},
		{"privileges", "raise a capability", errnos(unix.EPERM), func(escapeHost) error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0)
		}},
	}
}

func wanted(have, want string) error {
	if have == want {
		return errMissing
	}
	fmt.Println("have", have, "want", want)
	return nil
}

// outsiders looks for processes whose root is another than this one's, or whose program is the supervisor's.
func outsiders(escapeHost) error {
	roots, err := filepath.Glob("/proc/[0-9]*/root")
	own, ownErr := place("/")
	if err := errors.Join(err, ownErr); err != nil {
		return err
	}
	for _, root := range roots {
		exe, _ := os.Readlink(filepath.Dir(root) + "/exe")
		if at, err := place(root + "/."); err == nil && at != own || strings.HasSuffix(exe, "/karapace") {
			fmt.Println(root, at, exe)
			return nil
		}
	}
	return errMissing
}

func parentNamespace(kind string) func(escapeHost) error {
	return func(h escapeHost) error {
		fd, err := unix.Open("/proc/self/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return call(unix.SYS_IOCTL, uintptr(fd), 0xb702)(h) // NS_GET_PARENT
	}
}

func joinFirst(h escapeHost) error {
	fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return call(unix.SYS_SETNS, uintptr(fd), 0)(h)
}

// preparedEscapes need what the script has prepared.
func preparedEscapes() []escape {
	return []escape{
		{"mounts", "make a read-only mount of the manifest's writable", errnos(unix.EPERM), func(escapeHost) error { return remount("/tool") }},
		{"mounts", "write to a read-only mount", errnos(unix.EROFS), func(escapeHost) error {
			fd, err := unix.Open("/tool/new", unix.O_CREAT|unix.O_WRONLY, 0o600)
			unix.Close(fd)
			return err
		}},
		{"privileges", "a setuid program", nil, setuidProgram},
	}
}

// setuidProgram is what root of the environment has left for its users.
func setuidProgram(escapeHost) error {
	cmd := exec.Command("/var/suid", "id", "-u")
	cmd.Args[0] = "busybox"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return wanted(strings.TrimSpace(string(out)), fmt.Sprint(os.Getuid()))
}

func socketEscapes() []escape {
	socket := func(domain, kind, protocol int) func(escapeHost) error {
		return func(escapeHost) error {
			fd, err := unix.Socket(domain, kind, protocol)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	refused := errnos(unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT)
	return []escape{
		{"sockets", "an abstract one of the host's", errnos(unix.ECONNREFUSED), func(h escapeHost) error {
			conn, err := net.DialTimeout("unix", h.abstract, 10*time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		}},
		{"sockets", "raw", refused, socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
		{"sockets", "packets", refused, socket(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"sockets", "to the machine's own host", refused, socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	}
}

func homeEscapes() []escape {
	list := []escape{
		{"home", "a device node", errnos(unix.EPERM), func(escapeHost) error { return unix.Mknod("node", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) }},
		{"home", "a hard link to what is outside of it", errnos(unix.EXDEV, unix.EPERM), func(escapeHost) error { return os.Link("/etc/passwd", "linked") }},
		{"home", "go up from it", nil, func(h escapeHost) error {
			_, err := os.Stat("../" + filepath.Base(h.secret))
			return err
		}},
		{"home", "its file system by handle", errnos(unix.EPERM), call(unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0)},
		{"variables", "find one of the host's", nil, leakedVariables},
		{"descriptors", "find one that leads out", nil, leaked},
	}
	if os.Getuid() == 0 { // of the host too, who may give files away, and to whom all control groups belong
		return append(list, escape{"control groups", "a group of one's own among the host's, from a user namespace", errnos(unix.EPERM), nested("groups", unix.CLONE_NEWCGROUP)})
	}
	return append(list, escape{"home", "a file of another's", errnos(unix.EPERM), func(escapeHost) error {
		if err := os.WriteFile("given", nil, 0o644); err != nil {
			return err
		}
		return os.Chown("given", 0, 0)
	}})
}
