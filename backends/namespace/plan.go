package namespace

import (
	"errors"
	"fmt"
	"path/filepath"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/namespace/internal/seccomp"
)

// plan is a container as this backend understands it.
type plan struct {
	c           *backends.Container
	flags       uintptr // of its namespaces, without the user namespace
	filter      []unix.SockFilter
	filterFlags uintptr
	initial     bool // it runs in the initial user namespace
}

// compile checks what is asked of this backend. What it costs is paid by every session.
func compile(c *backends.Container) (*plan, error) {
	s := c.Spec
	if s == nil || s.Linux == nil || s.Root == nil {
		return nil, errors.New("it has no root or no linux section")
	}
	if !filepath.IsAbs(c.Bundle) || !filepath.IsAbs(c.State) {
		return nil, errors.New("bundle and state are not absolute paths")
	}
	if err := nsproc.CheckProcess(s.Process); err != nil {
		return nil, err
	}
	if err := refuse(s); err != nil {
		return nil, err
	}
	p := &plan{c: c}
	var err error
	if p.flags, err = namespaces(s.Linux.Namespaces); err != nil {
		return nil, err
	}
	if p.filter, err = seccomp.Compile(s.Linux.Seccomp); err != nil {
		return nil, err
	}
	p.filterFlags, err = seccomp.Flags(s.Linux.Seccomp)
	return p, err
}

// refuse lists what the specification knows and this backend does not do.
func refuse(s *rspec.Spec) error {
	l := s.Linux
	for _, unsupported := range [...]struct {
		asked bool
		what  string
	}{
		{s.Hooks != nil, "hooks"},
		{len(l.UIDMappings)+len(l.GIDMappings) > 0, "a user namespace"},
		{l.IntelRdt != nil, "an Intel RDT class"},
		{l.MountLabel != "", "a mount label"},
		{l.Personality != nil, "a personality"},
		{len(l.TimeOffsets) > 0, "time offsets"},
		{len(l.NetDevices) > 0, "network devices"},
		{l.MemoryPolicy != nil, "a memory policy"},
		{l.CgroupsPath != "", "a cgroup path"},
		{s.Windows != nil || s.Solaris != nil || s.VM != nil || s.ZOS != nil || s.FreeBSD != nil, "another operating system"},
	} {
		if unsupported.asked {
			return fmt.Errorf("%s is not supported", unsupported.what)
		}
	}
	return nil
}

func namespaces(list []rspec.LinuxNamespace) (uintptr, error) {
	var flags uintptr
	for _, ns := range list {
		if ns.Path != "" {
			return 0, fmt.Errorf("a %s namespace by path is not supported", ns.Type)
		}
		switch ns.Type {
		case rspec.PIDNamespace:
			flags |= unix.CLONE_NEWPID
		case rspec.MountNamespace:
			flags |= unix.CLONE_NEWNS
		case rspec.IPCNamespace:
			flags |= unix.CLONE_NEWIPC
		case rspec.UTSNamespace:
			flags |= unix.CLONE_NEWUTS
		case rspec.CgroupNamespace:
			flags |= unix.CLONE_NEWCGROUP
		case rspec.NetworkNamespace:
			flags |= unix.CLONE_NEWNET
		default:
			return 0, fmt.Errorf("a %s namespace is not supported", ns.Type)
		}
	}
	if need := uintptr(unix.CLONE_NEWPID | unix.CLONE_NEWNS); flags&need != need {
		return 0, errors.New("a container needs a pid and a mount namespace")
	}
	return flags, nil
}
