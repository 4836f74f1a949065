package nsproc

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// capSet is a set of capabilities, a bit each.
type capSet uint64

const allCaps = capSet(1)<<41 - 1

// capNames are in the order of their numbers (linux/capability.h).
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// caps gives the set of names; like every runtime it ignores those it does not know.
func caps(names []string) capSet {
	var set capSet
	for _, name := range names {
		if len(name) > 4 && name[:4] == "CAP_" {
			name = name[4:]
		}
		if i := slices.Index(capNames[:], name); i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

// UnknownCaps lists the names that are no capability of the kernel's.
func UnknownCaps(c *rspec.LinuxCapabilities) []string {
	if c == nil {
		return nil
	}
	var unknown []string
	for _, set := range [...][]string{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient} {
		for _, name := range set {
			if caps([]string{name}) == 0 && !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
	}
	return unknown
}

// capData is the kernel's struct __user_cap_data_struct, for both halves.
type capData [2]struct{ effective, permitted, inheritable uint32 }

func newCapData(effective, permitted, inheritable capSet) *capData {
	var d capData
	for i := range d {
		shift := 32 * i
		d[i].effective = uint32(effective >> shift)
		d[i].permitted = uint32(permitted >> shift)
		d[i].inheritable = uint32(inheritable >> shift)
	}
	return &d
}

type capHeader struct {
	version uint32
	pid     int32
}

func setCaps(p *rawproc.Program, d *capData) {
	p.Call("set capabilities", unix.SYS_CAPSET, rawproc.Value(&capHeader{version: unix.LINUX_CAPABILITY_VERSION_3}), rawproc.Value(d))
}

// available is what the caller may give: everything in a user namespace that it makes, its own capabilities otherwise.
func available() capSet {
	hdr := capHeader{version: unix.LINUX_CAPABILITY_VERSION_3}
	var d capData
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&d)), 0); errno != 0 {
		return 0
	}
	return capSet(d[0].permitted) | capSet(d[1].permitted)<<32
}

// known says whether the kernel has the capability, which may be a newer one than we have a name for.
func known(number int) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(number), 0)
	return errno == 0
}

// DropCaps makes the process, and whatever it executes, powerless.
func DropCaps(p *rawproc.Program) {
	p.Call("set no_new_privs", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_NO_NEW_PRIVS), rawproc.Int(1), rawproc.Int(0), rawproc.Int(0), rawproc.Int(0))
	setCaps(p, newCapData(0, 0, 0))
}

// credentials takes the user, groups and capabilities of the process. Without a set of capabilities it has none.
func credentials(p *rawproc.Program, proc *rspec.Process, userNS, keepGroups bool) {
	limit := allCaps
	if !userNS {
		limit = available()
	}
	var c rspec.LinuxCapabilities
	if proc.Capabilities != nil {
		c = *proc.Capabilities
	}
	bounding := caps(c.Bounding)
	permitted := caps(c.Permitted) & limit
	effective := caps(c.Effective) & permitted
	inheritable := caps(c.Inheritable) & limit & bounding
	ambient := caps(c.Ambient) & permitted & inheritable

	for i := range 64 {
		if bounding&(1<<i) == 0 && known(i) {
			p.Call("limit capabilities", unix.SYS_PRCTL, rawproc.Int(unix.PR_CAPBSET_DROP), rawproc.Int(i))
		}
	}
	p.Call("keep capabilities", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_KEEPCAPS), rawproc.Int(1), rawproc.Int(0), rawproc.Int(0), rawproc.Int(0))
	user(p, &proc.User, keepGroups)
	p.Call("set umask", unix.SYS_UMASK, rawproc.Int(umask(&proc.User)))
	setCaps(p, newCapData(effective, permitted, inheritable))
	for i := range len(capNames) {
		if ambient&(1<<i) != 0 {
			p.Call("set ambient capabilities", unix.SYS_PRCTL, rawproc.Int(unix.PR_CAP_AMBIENT), rawproc.Int(unix.PR_CAP_AMBIENT_RAISE), rawproc.Int(i), rawproc.Int(0), rawproc.Int(0))
		}
	}
}

func umask(u *rspec.User) uint32 {
	if u.Umask != nil {
		return *u.Umask
	}
	return 0o022
}

func user(p *rawproc.Program, u *rspec.User, keepGroups bool) {
	if !keepGroups {
		p.Call("set supplementary groups", unix.SYS_SETGROUPS, rawproc.Int(len(u.AdditionalGids)), rawproc.Array(append(slices.Clip(u.AdditionalGids), 0)))
	}
	p.Call("set gid", unix.SYS_SETRESGID, rawproc.Int(u.GID), rawproc.Int(u.GID), rawproc.Int(u.GID))
	p.Call("set uid", unix.SYS_SETRESUID, rawproc.Int(u.UID), rawproc.Int(u.UID), rawproc.Int(u.UID))
}

// limitNames are the resources of setrlimit(2) by their numbers on every architecture Go has but mips and sparc.
var limitNames = [...]string{
	"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
	"MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
}

// CheckLimits refuses limits that the kernel does not have, and those that are named twice (config.md, rlimits).
func CheckLimits(list []rspec.POSIXRlimit) error {
	seen := map[string]bool{}
	for _, l := range list {
		name, ok := strings.CutPrefix(l.Type, "RLIMIT_")
		if !ok || !slices.Contains(limitNames[:], name) {
			return fmt.Errorf("there is no limit %q", l.Type)
		}
		if seen[name] {
			return fmt.Errorf("the limit %s is there twice", l.Type)
		}
		seen[name] = true
	}
	return nil
}

// usualOpenFiles is the limit of open files that programs are used to. Go raises its own to the maximum.
const usualOpenFiles = 1024

func limits(p *rawproc.Program, list []rspec.POSIXRlimit) {
	openFiles := false
	for _, l := range list {
		i := -1
		if len(l.Type) > 7 && l.Type[:7] == "RLIMIT_" {
			i = slices.Index(limitNames[:], l.Type[7:])
		}
		openFiles = openFiles || i == unix.RLIMIT_NOFILE
		p.Call("set "+l.Type, unix.SYS_PRLIMIT64, rawproc.Int(0), rawproc.Int(i), rawproc.Value(&unix.Rlimit{Cur: l.Soft, Max: l.Hard}), rawproc.Int(0))
	}
	if own, ok := OpenFiles(); ok && !openFiles {
		p.Call("set RLIMIT_NOFILE", unix.SYS_PRLIMIT64, rawproc.Int(0), rawproc.Int(unix.RLIMIT_NOFILE), rawproc.Value(&own), rawproc.Int(0))
	}
}

// OpenFiles is the limit of open files for a process whose spec does not say.
func OpenFiles() (unix.Rlimit, bool) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return own, false
	}
	own.Cur = min(own.Max, usualOpenFiles)
	return own, true
}

// Capabilities are the names of all that are known.
func Capabilities() []string {
	list := make([]string, len(capNames))
	for i, name := range capNames {
		list[i] = "CAP_" + name
	}
	return list
}
