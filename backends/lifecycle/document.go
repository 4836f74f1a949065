package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/seccomp"
	"github.com/karapace/karapace/backends/userns"
)

// plan is a document that has been read: what the shared parts of the backend need, and namespaces by path.
type plan struct {
	nsproc.Plan
	join     []joined
	attr     nsproc.Attributes
	warnings []string
}

// joined is a namespace by path.
type joined struct {
	path string
	flag uintptr
}

// readDocument reads a bundle's config.json.
func readDocument(bundle string) (spec *rspec.Spec, data []byte, err error) {
	file := filepath.Join(bundle, documentName)
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", file, err)
	}
	if data, err = contents(os.NewFile(uintptr(fd), file)); err != nil {
		return nil, nil, err
	}
	spec = new(rspec.Spec)
	if err := json.Unmarshal(data, spec); err != nil {
		return nil, nil, invalid("%s: %w", file, err)
	}
	return spec, data, nil
}

// newPlan checks a document. Its process may be missing.
func newPlan(id, bundle, state string, spec *rspec.Spec) (*plan, error) {
	p := &plan{Plan: nsproc.Plan{Foreign: true, Container: &backends.Container{ID: id, Bundle: bundle, State: state, Spec: spec}}}
	if err := p.check(); err != nil {
		return nil, &backends.Error{Kind: backends.Invalid, Op: "read " + filepath.Join(bundle, documentName), Err: err}
	}
	return p, nil
}

func (p *plan) check() error {
	s := p.Spec
	if s.Linux == nil {
		s.Linux = new(rspec.Linux)
	}
	if err := refuse(s); err != nil {
		return err
	}
	for i, m := range s.Mounts {
		if !filepath.IsAbs(m.Destination) { // which old documents have
			s.Mounts[i].Destination = "/" + m.Destination
		}
	}
	if err := p.root(); err != nil {
		return err
	}
	if err := p.namespaces(); err != nil {
		return err
	}
	if err := p.mapping(); err != nil {
		return err
	}
	var err error
	if p.Filter, err = seccomp.Compile(s.Linux.Seccomp); err != nil {
		return err
	}
	if s.Linux.MountLabel != "" {
		p.warnings = append(p.warnings, "the host has no SELinux: the mount label is left out")
	}
	if p.FilterFlags, err = seccomp.Flags(s.Linux.Seccomp); err != nil || s.Process == nil {
		return err
	}
	return p.process(s.Process)
}

// process checks a process of the container's.
func (p *plan) process(proc *rspec.Process) error {
	if err := nsproc.CheckProcess(proc); err != nil {
		return err
	}
	if err := nsproc.CheckLimits(proc.Rlimits); err != nil {
		return err
	}
	var err error
	var warnings []string
	p.attr, warnings, err = nsproc.NewAttributes(proc, p.Spec.Linux.Personality)
	p.warnings = append(p.warnings, warnings...)
	if unknown := nsproc.UnknownCaps(proc.Capabilities); err == nil && len(unknown) > 0 {
		p.warnings = append(p.warnings, "the kernel's capabilities do not include "+strings.Join(unknown, ", "))
	}
	return err
}

// refuse lists what the specification knows and this runtime does not do.
func refuse(s *rspec.Spec) error {
	if !strings.HasPrefix(s.Version, "1.") {
		return fmt.Errorf("ociVersion %q is not supported: it must be 1.x", s.Version)
	}
	l := s.Linux
	for _, unsupported := range [...]struct {
		asked bool
		what  string
	}{
		{s.Root == nil || s.Root.Path == "", "a container without a root"},
		{l.IntelRdt != nil, "an Intel RDT class"},
		{len(l.TimeOffsets) > 0, "a time namespace's offset"},
		{len(l.NetDevices) > 0, "moving network devices"},
		{l.MemoryPolicy != nil, "a memory policy"},
		{s.VM != nil || s.Windows != nil && s.Linux == nil, "another platform than Linux"},
	} {
		if unsupported.asked {
			return fmt.Errorf("%s is not supported", unsupported.what)
		}
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); l.MountLabel != "" && err == nil {
		return errors.New("a mount label is not supported")
	}
	for name := range l.Sysctl {
		if strings.Contains(name, "..") || strings.HasPrefix(name, "/") {
			return fmt.Errorf("%q is no sysctl", name)
		}
	}
	return nil
}

// root finds the root file system's directory.
func (p *plan) root() error {
	dir := p.Spec.Root.Path
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(p.Bundle, dir)
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("find the root file system: %w", err)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("the root file system %s is no directory", dir)
	}
	if dir == "/" {
		return errors.New("the root file system of a container cannot be the host's")
	}
	p.Rootfs.Dir, p.Target = dir, dir
	return nil
}

func (p *plan) namespaces() error {
	seen := map[rspec.LinuxNamespaceType]bool{}
	var user []joined
	for _, ns := range p.Spec.Linux.Namespaces {
		flag := namespaceFlag(ns.Type)
		switch {
		case flag == 0:
			return fmt.Errorf("a %s namespace is not supported", ns.Type)
		case seen[ns.Type]:
			return fmt.Errorf("the document has two %s namespaces", ns.Type)
		case ns.Path != "" && !filepath.IsAbs(ns.Path):
			return fmt.Errorf("the path %q of a namespace is not absolute", ns.Path)
		case ns.Path != "" && flag == unix.CLONE_NEWUSER: // the last that is entered: it takes the power over the others
			user = append(user, joined{ns.Path, flag})
		case ns.Path != "":
			p.join = append(p.join, joined{ns.Path, flag})
		default:
			p.Flags |= flag
		}
		seen[ns.Type] = true
	}
	p.join = append(p.join, user...)
	p.Owned = p.Flags
	if p.Flags&unix.CLONE_NEWUSER == 0 && len(user) == 0 { // they are the caller's, as far as it has power over them
		for _, j := range p.join {
			p.Owned |= j.flag
		}
	}
	if p.Spec.Hostname+p.Spec.Domainname != "" && !seen[rspec.UTSNamespace] {
		return errors.New("a host name needs a uts namespace")
	}
	return nil
}

func namespaceFlag(t rspec.LinuxNamespaceType) uintptr {
	switch t {
	case rspec.PIDNamespace:
		return unix.CLONE_NEWPID
	case rspec.MountNamespace:
		return unix.CLONE_NEWNS
	case rspec.IPCNamespace:
		return unix.CLONE_NEWIPC
	case rspec.UTSNamespace:
		return unix.CLONE_NEWUTS
	case rspec.CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	case rspec.NetworkNamespace:
		return unix.CLONE_NEWNET
	case rspec.UserNamespace:
		return unix.CLONE_NEWUSER
	}
	return 0
}

// mapping makes the new user namespace's.
func (p *plan) mapping() error {
	l := p.Spec.Linux
	if p.Flags&unix.CLONE_NEWUSER == 0 {
		if len(l.UIDMappings)+len(l.GIDMappings) > 0 && !p.joins(unix.CLONE_NEWUSER) {
			return errors.New("the document maps ids and makes no user namespace")
		}
		return nil
	}
	p.Flags &^= unix.CLONE_NEWUSER
	if len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		return errors.New("a new user namespace needs uidMappings and gidMappings")
	}
	var err error
	p.Mapping, err = userns.Of(ranges(l.UIDMappings), ranges(l.GIDMappings))
	return err
}

func (p *plan) joins(flag uintptr) bool {
	for _, j := range p.join {
		if j.flag == flag {
			return true
		}
	}
	return false
}

func ranges(list []rspec.LinuxIDMapping) []userns.Range {
	var out []userns.Range
	for _, m := range list {
		out = append(out, userns.Range{Inside: m.ContainerID, Outside: m.HostID, Size: m.Size})
	}
	return out
}

// openNamespaces opens what is joined, and checks that each is of its kind.
func (p *plan) openNamespaces() ([]nsproc.Namespace, error) {
	var list []nsproc.Namespace
	for _, j := range p.join {
		fd, err := unix.Open(j.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			closeNamespaces(list)
			return nil, fmt.Errorf("open namespace %s: %w", j.path, err)
		}
		list = append(list, nsproc.Namespace{FD: fd, Flag: j.flag})
		kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
		if err != nil || uintptr(kind) != j.flag {
			closeNamespaces(list)
			return nil, invalid("%s is no namespace of the kind the document says", j.path)
		}
	}
	return list, nil
}

func closeNamespaces(list []nsproc.Namespace) {
	for _, ns := range list {
		unix.Close(ns.FD)
	}
}
