package nsproc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/seccomp"
)

// Plan is a container that has been checked, with what every session needs.
type Plan struct {
	*backends.Container
	Flags       uintptr // of its namespaces, without the user namespace
	Owned       uintptr // of those that belong to its user namespace
	Target      string  // where the root file system is mounted, absolute
	Foreign     bool    // the document was not made by us, and may ask for all the specification knows
	Filter      []unix.SockFilter
	FilterFlags uintptr
	complete    bool
}

// NewPlan checks what is asked of a backend.
func NewPlan(c *backends.Container) (*Plan, error) {
	p, err := BeginPlan(c)
	if err == nil {
		err = p.Complete()
	}
	return p, err
}

// BeginPlan checks what there is to check as long as Container.Compose has not been called.
func BeginPlan(c *backends.Container) (*Plan, error) {
	p, err := beginPlan(c)
	return p, unreadable(err)
}

// Complete checks the rest, unless that has been done.
func (p *Plan) Complete() error {
	if p.complete {
		return nil
	}
	if p.Compose != nil {
		spec, err := p.Compose()
		if err != nil {
			return err
		}
		p.Spec = spec
	}
	if err := p.check(); err != nil {
		return unreadable(err)
	}
	p.complete = true
	return nil
}

func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return &backends.Error{Kind: backends.Invalid, Op: "read the spec", Err: err}
}

func beginPlan(c *backends.Container) (*Plan, error) {
	if c.Spec == nil || c.Spec.Linux == nil {
		return nil, errors.New("it has no linux section")
	}
	if !filepath.IsAbs(c.Bundle) || !filepath.IsAbs(c.State) {
		return nil, errors.New("bundle and state are not absolute paths")
	}
	if !validID(c.ID) {
		return nil, fmt.Errorf("%q is no container id", c.ID)
	}
	p := &Plan{Container: c, Target: filepath.Join(c.Bundle, "rootfs")}
	var err error
	p.Flags, err = namespaces(c.Spec.Linux.Namespaces)
	p.Owned = p.Flags
	return p, err
}

func (p *Plan) check() error {
	s := p.Spec
	if s.Linux == nil || s.Root == nil {
		return errors.New("it has no root or no linux section")
	}
	if err := CheckProcess(s.Process); err != nil {
		return err
	}
	if err := refuse(s); err != nil {
		return err
	}
	flags, err := namespaces(s.Linux.Namespaces)
	if err != nil {
		return err
	}
	if flags != p.Flags {
		return errors.New("it has other namespaces than it had before it was complete")
	}
	if p.Filter, err = seccomp.Compile(s.Linux.Seccomp); err != nil {
		return err
	}
	p.FilterFlags, err = seccomp.Flags(s.Linux.Seccomp)
	return err
}

// validID keeps ids usable as file names and arguments.
func validID(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"
	return id != "" && id[0] != '.' && id[0] != '-' && strings.Trim(id, allowed) == ""
}

// Initial says whether the container is in the initial user namespace, where root is really root.
func (p *Plan) Initial() bool { return p.Mapping == nil && InitialUserNS() }

// MayStart asks whoever wants the container whether it may be started now.
func MayStart(c *backends.Container) error {
	if c.Starting == nil {
		return nil
	}
	return c.Starting()
}

// refuse lists what the specification knows and no backend does here.
func refuse(s *rspec.Spec) error {
	l := s.Linux
	for _, unsupported := range [...]struct {
		asked bool
		what  string
	}{
		{s.Hooks != nil, "hooks"},
		{s.Process.ApparmorProfile != "" || s.Process.SelinuxLabel != "", "a security label"},
		{s.Process.Scheduler != nil || s.Process.IOPriority != nil || s.Process.ExecCPUAffinity != nil, "a scheduling attribute"},
		{l.RootfsPropagation != "", "a propagation of the root"},
		{badTarget(s.Mounts), "a mount destination that is not absolute"},
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

func badTarget(mounts []rspec.Mount) bool {
	for _, m := range mounts {
		if !filepath.IsAbs(m.Destination) {
			return true
		}
	}
	return false
}
