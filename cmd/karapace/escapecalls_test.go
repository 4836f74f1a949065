package main

import "golang.org/x/sys/unix"

// callEscapes are the system calls that reach the kernel rather than the environment. All are called with arguments that
// would give another error than the filter's.
func callEscapes() []escape {
	type one struct {
		class, name string
		number      uintptr
	}
	var list []escape
	for _, c := range []one{
		{"keyrings", "add_key", unix.SYS_ADD_KEY}, {"keyrings", "keyctl", unix.SYS_KEYCTL}, {"keyrings", "request_key", unix.SYS_REQUEST_KEY},
		{"kernel", "bpf", unix.SYS_BPF}, {"kernel", "perf_event_open", unix.SYS_PERF_EVENT_OPEN}, {"kernel", "userfaultfd", unix.SYS_USERFAULTFD},
		{"kernel", "kexec_load", unix.SYS_KEXEC_LOAD}, {"kernel", "kexec_file_load", unix.SYS_KEXEC_FILE_LOAD},
		{"modules", "init_module", unix.SYS_INIT_MODULE}, {"modules", "finit_module", unix.SYS_FINIT_MODULE}, {"modules", "delete_module", unix.SYS_DELETE_MODULE},
		{"machine", "swapon", unix.SYS_SWAPON}, {"machine", "swapoff", unix.SYS_SWAPOFF}, {"machine", "reboot", unix.SYS_REBOOT}, {"machine", "acct", unix.SYS_ACCT},
		{"machine", "settimeofday", unix.SYS_SETTIMEOFDAY}, {"machine", "clock_settime", unix.SYS_CLOCK_SETTIME}, {"machine", "clock_adjtime", unix.SYS_CLOCK_ADJTIME},
		{"machine", "syslog", unix.SYS_SYSLOG}, {"machine", "quotactl", unix.SYS_QUOTACTL}, {"machine", "vhangup", unix.SYS_VHANGUP},
		{"files by handle", "open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT},
	} {
		list = append(list, escape{c.class, c.name, errnos(unix.EPERM), call(c.number, 0, 0, 0, 0, 0, 0)})
	}
	for _, number := range []uintptr{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER} {
		list = append(list, escape{"kernel", "io_uring", errnos(unix.ENOSYS), call(number, 0, 0)})
	}
	const tiocsti, tioclinux = 0x5412, 0x541c
	for name, request := range map[string]uintptr{"TIOCSTI": tiocsti, "TIOCLINUX": tioclinux, "TIOCSTI with high bits": 1<<32 | tiocsti, "TIOCLINUX with high bits": 1<<32 | tioclinux} {
		list = append(list, escape{"terminal", name, errnos(unix.EPERM), call(unix.SYS_IOCTL, 0, request, textAt("x"))})
	}
	return list
}
