package seccomp

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	auditNative = unix.AUDIT_ARCH_X86_64
	auditCompat = unix.AUDIT_ARCH_I386
	nativeArch  = rspec.ArchX86_64
	compatArch  = rspec.ArchX86
	x32Bit      = 0x40000000 // __X32_SYSCALL_BIT
)
