package seccomp

import rspec "github.com/opencontainers/runtime-spec/specs-go"

// Actions are those that Compile takes.
func Actions() []string {
	return []string{
		string(rspec.ActAllow), string(rspec.ActErrno), string(rspec.ActKill), string(rspec.ActKillProcess), string(rspec.ActKillThread),
		string(rspec.ActLog), string(rspec.ActTrace), string(rspec.ActTrap),
	}
}

// Operators are those that Compile takes.
func Operators() []string {
	return []string{
		string(rspec.OpEqualTo), string(rspec.OpGreaterEqual), string(rspec.OpGreaterThan), string(rspec.OpLessEqual), string(rspec.OpLessThan),
		string(rspec.OpMaskedEqual), string(rspec.OpNotEqual),
	}
}

// Architectures are those that Compile knows on this machine.
func Architectures() []string { return []string{string(nativeArch), string(compatArch)} }

// KnownFlags are those that Flags takes.
func KnownFlags() []string {
	return []string{string(rspec.LinuxSeccompFlagLog), string(rspec.LinuxSeccompFlagSpecAllow), "SECCOMP_FILTER_FLAG_TSYNC"}
}
