package ocispec

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// systemMounts are the mounts every session has.
func systemMounts(networkIsolated, readOnlyRoot bool) []rspec.Mount {
	m := []rspec.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		sysMount(networkIsolated),
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
	}
	if readOnlyRoot {
		m = append(m, rspec.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
	}
	return m
}

// sysMount gives a new sysfs where the network namespace is the environment's own: the kernel allows it only to the
// owner of both. Else the host's is bound, read-only.
func sysMount(ownNetwork bool) rspec.Mount {
	if ownNetwork {
		return rspec.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}
	}
	return rspec.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
}

func buildMounts() []rspec.Mount {
	return []rspec.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		sysMount(true),
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
	}
}

// maskedPaths tell about or reach into the host and are hidden, as every container engine does.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// capabilities of a process: root inside gets what administering the environment takes, anybody else none but the same
// bounding set.
func capabilities(uid uint32) *rspec.LinuxCapabilities {
	if uid == 0 {
		return same(sessionCapabilities())
	}
	return &rspec.LinuxCapabilities{Bounding: sessionCapabilities()}
}

func same(caps []string) *rspec.LinuxCapabilities {
	return &rspec.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

func sessionCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// seccomp refuses the calls that reach the kernel rather than the environment. Everything else is allowed: this is a place
// for debuggers, browsers and nested sandboxes, and the user namespace is what bounds it.
//
// Whoever makes a cgroup namespace in a user namespace of its own may mount the hierarchies of control groups from its own group on, and
// is there what it is on the host. keepCgroups refuses it; clone3, which takes its flags where no filter sees them, is then as in old kernels.
func seccomp(keepCgroups bool) *rspec.LinuxSeccomp {
	eperm, enosys := uint(1), uint(38)
	const tiocsti, tioclinux = 0x5412, 0x541C
	const vsock = 40 // AF_VSOCK: sockets between a virtual machine and its host, which no network namespace separates
	s := &rspec.LinuxSeccomp{
		DefaultAction: rspec.ActAllow,
		Architectures: []rspec.Arch{rspec.ArchX86_64, rspec.ArchX86, rspec.ArchX32, rspec.ArchAARCH64, rspec.ArchARM},
		Syscalls: []rspec.LinuxSyscall{
			{Names: deniedCalls(), Action: rspec.ActErrno, ErrnoRet: &eperm},
			{Names: []string{"io_uring_enter", "io_uring_register", "io_uring_setup"}, Action: rspec.ActErrno, ErrnoRet: &enosys},
			{Names: []string{"ioctl"}, Action: rspec.ActErrno, ErrnoRet: &eperm, Args: []rspec.LinuxSeccompArg{maskedArg(1, tiocsti)}},
			{Names: []string{"ioctl"}, Action: rspec.ActErrno, ErrnoRet: &eperm, Args: []rspec.LinuxSeccompArg{maskedArg(1, tioclinux)}},
			{Names: []string{"socket"}, Action: rspec.ActErrno, ErrnoRet: &eperm, Args: []rspec.LinuxSeccompArg{maskedArg(0, vsock)}},
		},
	}
	if keepCgroups {
		const newCgroup = 0x02000000 // CLONE_NEWCGROUP
		flag := rspec.LinuxSeccompArg{Value: newCgroup, ValueTwo: newCgroup, Op: rspec.OpMaskedEqual}
		s.Syscalls = append(s.Syscalls,
			rspec.LinuxSyscall{Names: []string{"clone", "unshare"}, Action: rspec.ActErrno, ErrnoRet: &eperm, Args: []rspec.LinuxSeccompArg{flag}},
			rspec.LinuxSyscall{Names: []string{"clone3"}, Action: rspec.ActErrno, ErrnoRet: &enosys},
		)
	}
	return s
}

// maskedArg compares the low 32 bits only: the kernel ignores the others of an ioctl request or a family, a plain comparison does not.
func maskedArg(index uint, value uint64) rspec.LinuxSeccompArg {
	return rspec.LinuxSeccompArg{Index: index, Value: 0xffffffff, ValueTwo: value, Op: rspec.OpMaskedEqual}
}

func deniedCalls() []string {
	return []string{
		"acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "finit_module", "get_kernel_syms",
		"init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "nfsservctl", "open_by_handle_at",
		"pciconfig_iobase", "pciconfig_read", "pciconfig_write", "perf_event_open", "query_module", "quotactl", "quotactl_fd", "reboot",
		"request_key", "s390_pci_mmio_read", "s390_pci_mmio_write", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "_sysctl",
		"syslog", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old",
	}
}
