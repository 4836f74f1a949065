package nsproc

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Attributes are what only documents from outside ask for. The zero value asks for nothing.
type Attributes struct {
	KeepKeyring bool
	personality *uint64
	scheduler   *schedAttr
	ioPriority  *int
	exec        string // what is written to labelFile for the next execution
	labelFile   string
}

// schedAttr is the kernel's struct sched_attr (sched_setattr(2)).
type schedAttr struct {
	size, policy              uint32
	flags                     uint64
	nice                      int32
	priority                  uint32
	runtime, deadline, period uint64
}

// NewAttributes reads what a document asks for. The warnings are about what this host cannot do and what is left out
// therefore.
func NewAttributes(proc *rspec.Process, personality *rspec.LinuxPersonality) (a Attributes, warnings []string, err error) {
	if personality != nil {
		values := map[rspec.LinuxPersonalityDomain]uint64{rspec.PerLinux: 0, rspec.PerLinux32: 8}
		domain, ok := values[personality.Domain]
		if !ok || len(personality.Flags) > 0 {
			return a, nil, fmt.Errorf("the personality %s %v is not supported", personality.Domain, personality.Flags)
		}
		a.personality = &domain
	}
	if proc.ExecCPUAffinity != nil {
		return a, nil, errors.New("a processor affinity of executed processes is not supported")
	}
	if a.scheduler, err = scheduler(proc.Scheduler); err != nil {
		return a, nil, err
	}
	if a.ioPriority, err = ioPriority(proc.IOPriority); err != nil {
		return a, nil, err
	}
	if proc.ApparmorProfile != "" {
		if text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(text), "Y") {
			return a, nil, fmt.Errorf("the host has no AppArmor for the profile %q", proc.ApparmorProfile)
		}
		a.labelFile, a.exec = "attr/apparmor/exec", "exec "+proc.ApparmorProfile
	}
	if proc.SelinuxLabel != "" {
		if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
			return a, []string{fmt.Sprintf("the host has no SELinux: the label %q is left out", proc.SelinuxLabel)}, nil
		}
		if a.exec != "" {
			return a, nil, errors.New("a process has either an AppArmor profile or an SELinux label")
		}
		a.labelFile, a.exec = "attr/exec", proc.SelinuxLabel
	}
	return a, nil, nil
}

func scheduler(s *rspec.Scheduler) (*schedAttr, error) {
	if s == nil {
		return nil, nil
	}
	policies := map[rspec.LinuxSchedulerPolicy]uint32{
		rspec.SchedOther: 0, rspec.SchedFIFO: 1, rspec.SchedRR: 2, rspec.SchedBatch: 3, rspec.SchedIdle: 5, rspec.SchedDeadline: 6,
	}
	flags := map[rspec.LinuxSchedulerFlag]uint64{
		rspec.SchedFlagResetOnFork: 1, rspec.SchedFlagReclaim: 2, rspec.SchedFlagDLOverrun: 4, rspec.SchedFlagKeepPolicy: 8,
		rspec.SchedFlagKeepParams: 16, rspec.SchedFlagUtilClampMin: 32, rspec.SchedFlagUtilClampMax: 64,
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return nil, fmt.Errorf("the scheduling policy %q is not supported", s.Policy)
	}
	a := &schedAttr{size: 48, policy: policy, nice: s.Nice, priority: uint32(s.Priority), runtime: s.Runtime, deadline: s.Deadline, period: s.Period}
	for _, name := range s.Flags {
		f, ok := flags[name]
		if !ok {
			return nil, fmt.Errorf("the scheduling flag %q is not supported", name)
		}
		a.flags |= f
	}
	return a, nil
}

func ioPriority(p *rspec.LinuxIOPriority) (*int, error) {
	if p == nil {
		return nil, nil
	}
	classes := map[rspec.IOPriorityClass]int{rspec.IOPRIO_CLASS_RT: 1, rspec.IOPRIO_CLASS_BE: 2, rspec.IOPRIO_CLASS_IDLE: 3}
	class, ok := classes[p.Class]
	if !ok || p.Priority < 0 || p.Priority > 7 {
		return nil, fmt.Errorf("the I/O priority %s %d does not exist", p.Class, p.Priority)
	}
	value := class<<13 | p.Priority
	return &value, nil
}

func (a *Attributes) schedule(p *rawproc.Program) {
	if a.personality != nil {
		p.Call("set personality", unix.SYS_PERSONALITY, rawproc.Int(*a.personality))
	}
	if a.scheduler != nil {
		p.Call("set scheduler", unix.SYS_SCHED_SETATTR, rawproc.Int(0), rawproc.Value(a.scheduler), rawproc.Int(0))
	}
	if a.ioPriority != nil {
		p.Call("set I/O priority", unix.SYS_IOPRIO_SET, rawproc.Int(1), rawproc.Int(0), rawproc.Int(*a.ioPriority)) // IOPRIO_WHO_PROCESS
	}
}

// label tells the security module what the next execution is to become.
func (a *Attributes) label(p *rawproc.Program) {
	if a.exec == "" {
		return
	}
	fd := p.Reg()
	file := path.Join("/proc/thread-self", a.labelFile)
	p.Call("open "+file, unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(file), rawproc.Int(unix.O_WRONLY|unix.O_CLOEXEC), rawproc.Int(0)).Into(fd)
	p.Call("take the security label "+a.exec, unix.SYS_WRITE, rawproc.R(fd), rawproc.Str(a.exec), rawproc.Int(len(a.exec)))
	p.Call("close "+file, unix.SYS_CLOSE, rawproc.R(fd))
}
