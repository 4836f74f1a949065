package faults

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// legacyCalls are those that newer architectures do not have.
func legacyCalls() map[int32]call {
	return map[int32]call{
		unix.SYS_OPEN: {name: "open", where: path0, opens: &opening{at: 1}}, unix.SYS_CREAT: {name: "creat", where: path0},
		unix.SYS_RENAME: {name: "rename", where: path1}, unix.SYS_LINK: {name: "link", where: path1}, unix.SYS_SYMLINK: {name: "symlink", where: path1},
		unix.SYS_UNLINK: {name: "unlink", where: path0}, unix.SYS_RMDIR: {name: "rmdir", where: path0}, unix.SYS_MKDIR: {name: "mkdir", where: path0},
		unix.SYS_CHMOD: {name: "chmod", where: path0}, unix.SYS_CHOWN: {name: "chown", where: path0}, unix.SYS_LCHOWN: {name: "lchown", where: path0},
		unix.SYS_MKNOD: {name: "mknod", where: path0},
	}
}
