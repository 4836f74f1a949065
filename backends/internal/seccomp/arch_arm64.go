package seccomp

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	auditNative = unix.AUDIT_ARCH_AARCH64
	auditCompat = unix.AUDIT_ARCH_ARM
	nativeArch  = rspec.ArchAARCH64
	compatArch  = rspec.ArchARM
	x32Bit      = 0
)
