package probe

import (
	"strconv"
	"strings"
)

// capabilityNames are those of capabilities(7), by their number.
func capabilityNames() []string {
	return []string{
		"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
		"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace",
		"sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write",
		"audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
	}
}

// capabilities names the bits of a set as /proc/self/status has it.
func capabilities(hex string) string {
	bits, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return hex
	}
	names := capabilityNames()
	var set []string
	for i := range 64 {
		switch {
		case bits&(1<<i) == 0:
		case i < len(names):
			set = append(set, names[i])
		default:
			set = append(set, strconv.Itoa(i))
		}
	}
	return strings.Join(set, " ")
}
