package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// list collects settings of one controller at a time.
type list []setting

func number[T int64 | uint64 | uint32 | uint16](l *list, controller, file string, n *T) {
	if n != nil {
		*l = append(*l, setting{controller, file, fmt.Sprint(*n)})
	}
}

func text(l *list, controller, file, value string) {
	if value != "" {
		*l = append(*l, setting{controller, file, value})
	}
}

// resourcesV1 translates limits to the files of cgroup version 1.
func resourcesV1(r *rspec.LinuxResources) ([]setting, error) {
	var l list
	if len(r.Unified) > 0 {
		return nil, errors.New("the document sets files of cgroup version 2, and the host has version 1")
	}
	devicesV1(&l, r.Devices)
	if c := r.CPU; c != nil {
		number(&l, "cpu", "cpu.shares", c.Shares)
		number(&l, "cpu", "cpu.cfs_period_us", c.Period)
		number(&l, "cpu", "cpu.cfs_quota_us", c.Quota)
		number(&l, "cpu", "cpu.cfs_burst_us", c.Burst)
		number(&l, "cpu", "cpu.rt_period_us", c.RealtimePeriod)
		number(&l, "cpu", "cpu.rt_runtime_us", c.RealtimeRuntime)
		number(&l, "cpu", "cpu.idle", c.Idle)
		text(&l, "cpuset", "cpuset.cpus", c.Cpus)
		text(&l, "cpuset", "cpuset.mems", c.Mems)
	}
	if m := r.Memory; m != nil {
		number(&l, "memory", "memory.limit_in_bytes", m.Limit)
		number(&l, "memory", "memory.soft_limit_in_bytes", m.Reservation)
		number(&l, "memory", "memory.memsw.limit_in_bytes", m.Swap)
		//lint:ignore SA1019 it is deprecated, and still asked for
		number(&l, "memory", "memory.kmem.limit_in_bytes", m.Kernel)
		number(&l, "memory", "memory.kmem.tcp.limit_in_bytes", m.KernelTCP)
		number(&l, "memory", "memory.swappiness", m.Swappiness)
		if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
			text(&l, "memory", "memory.oom_control", "1")
		}
		if m.UseHierarchy != nil && *m.UseHierarchy {
			text(&l, "memory", "memory.use_hierarchy", "1")
		}
	}
	pids(&l, r.Pids)
	blockV1(&l, r.BlockIO)
	for _, p := range r.HugepageLimits {
		text(&l, "hugetlb", "hugetlb."+p.Pagesize+".limit_in_bytes", fmt.Sprint(p.Limit))
	}
	if n := r.Network; n != nil {
		number(&l, "net_cls", "net_cls.classid", n.ClassID)
		for _, p := range n.Priorities {
			text(&l, "net_prio", "net_prio.ifpriomap", fmt.Sprint(p.Name, " ", p.Priority))
		}
	}
	rdma(&l, r.Rdma)
	return l, checkFiles(l)
}

func pids(l *list, p *rspec.LinuxPids) {
	if p == nil || p.Limit == nil {
		return
	}
	value := "max"
	if *p.Limit > 0 {
		value = strconv.FormatInt(*p.Limit, 10)
	}
	text(l, "pids", "pids.max", value)
}

func blockV1(l *list, b *rspec.LinuxBlockIO) {
	if b == nil {
		return
	}
	number(l, "blkio", "blkio.weight", b.Weight)
	number(l, "blkio", "blkio.leaf_weight", b.LeafWeight)
	for _, d := range b.WeightDevice {
		if d.Weight != nil {
			text(l, "blkio", "blkio.weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight))
		}
		if d.LeafWeight != nil {
			text(l, "blkio", "blkio.leaf_weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.LeafWeight))
		}
	}
	for file, rules := range throttles(b) {
		for _, d := range rules {
			text(l, "blkio", "blkio.throttle."+file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
		}
	}
}

func throttles(b *rspec.LinuxBlockIO) map[string][]rspec.LinuxThrottleDevice {
	return map[string][]rspec.LinuxThrottleDevice{
		"read_bps_device": b.ThrottleReadBpsDevice, "write_bps_device": b.ThrottleWriteBpsDevice,
		"read_iops_device": b.ThrottleReadIOPSDevice, "write_iops_device": b.ThrottleWriteIOPSDevice,
	}
}

func rdma(l *list, limits map[string]rspec.LinuxRdma) {
	for name, r := range limits {
		value := name
		if r.HcaHandles != nil {
			value += fmt.Sprintf(" hca_handle=%d", *r.HcaHandles)
		}
		if r.HcaObjects != nil {
			value += fmt.Sprintf(" hca_object=%d", *r.HcaObjects)
		}
		text(l, "rdma", "rdma.max", value)
	}
}

// devicesV1 applies the rules in order. A container to which everything is denied at first keeps the devices that every
// container has, terminals, and the right to make nodes, as with every runtime.
func devicesV1(l *list, rules []rspec.LinuxDeviceCgroup) {
	usual := false
	for _, r := range rules {
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		rule := deviceRule(&r)
		usual = usual || !r.Allow && rule == "a"
		text(l, "devices", file, rule)
	}
	if !usual {
		return
	}
	for _, rule := range [...]string{
		"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm",
	} {
		text(l, "devices", "devices.allow", rule)
	}
}

// deviceRule is a rule as the kernel reads it; "a" is everything.
func deviceRule(r *rspec.LinuxDeviceCgroup) string {
	kind, access := r.Type, r.Access
	if kind == "" {
		kind = "a"
	}
	if access == "" {
		access = "rwm"
	}
	if kind == "a" && number64(r.Major) == "*" && number64(r.Minor) == "*" {
		return "a"
	}
	return kind + " " + number64(r.Major) + ":" + number64(r.Minor) + " " + access
}

func number64(n *int64) string {
	if n == nil || *n < 0 {
		return "*"
	}
	return strconv.FormatInt(*n, 10)
}

// resourcesV2 translates limits to the files of cgroup version 2.
func resourcesV2(r *rspec.LinuxResources) ([]setting, error) {
	var l list
	if !everyDevice(r.Devices) {
		return nil, errors.New("rules about devices need a program in the kernel under cgroup version 2, which this runtime does not load: take linux.resources.devices out of the document")
	}
	if r.Network != nil {
		return nil, errors.New("cgroup version 2 has no controller for network classes and priorities")
	}
	if c := r.CPU; c != nil {
		if c.Shares != nil {
			text(&l, "cpu", "cpu.weight", strconv.FormatUint(weight(*c.Shares), 10))
		}
		text(&l, "cpu", "cpu.max", cpuMax(c))
		number(&l, "cpu", "cpu.max.burst", c.Burst)
		number(&l, "cpu", "cpu.idle", c.Idle)
		text(&l, "cpuset", "cpuset.cpus", c.Cpus)
		text(&l, "cpuset", "cpuset.mems", c.Mems)
		if c.RealtimePeriod != nil || c.RealtimeRuntime != nil {
			return nil, errors.New("cgroup version 2 has no realtime limits")
		}
	}
	if err := memoryV2(&l, r.Memory); err != nil {
		return nil, err
	}
	pids(&l, r.Pids)
	blockV2(&l, r.BlockIO)
	for _, p := range r.HugepageLimits {
		text(&l, "hugetlb", "hugetlb."+p.Pagesize+".max", fmt.Sprint(p.Limit))
	}
	rdma(&l, r.Rdma)
	for file, value := range r.Unified {
		controller, _, _ := strings.Cut(file, ".")
		if controller == "cgroup" {
			controller = ""
		}
		l = append(l, setting{controller, file, value})
	}
	return l, checkFiles(l)
}

func everyDevice(rules []rspec.LinuxDeviceCgroup) bool {
	return len(rules) == 0 || rules[len(rules)-1].Allow && deviceRule(&rules[len(rules)-1]) == "a"
}

func cpuMax(c *rspec.LinuxCPU) string {
	if c.Quota == nil && c.Period == nil {
		return ""
	}
	quota := "max"
	if c.Quota != nil && *c.Quota > 0 {
		quota = strconv.FormatInt(*c.Quota, 10)
	}
	if c.Period != nil && *c.Period > 0 {
		return quota + " " + strconv.FormatUint(*c.Period, 10)
	}
	return quota
}

func memoryV2(l *list, m *rspec.LinuxMemory) error {
	if m == nil {
		return nil
	}
	//lint:ignore SA1019 it is deprecated, and still asked for
	if m.Kernel != nil || m.KernelTCP != nil || m.Swappiness != nil || m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		return errors.New("cgroup version 2 has no limits of kernel memory, no swappiness and no way to disable the OOM killer")
	}
	limit := func(file string, n *int64) {
		if n != nil && *n < 0 {
			text(l, "memory", file, "max")
			return
		}
		number(l, "memory", file, n)
	}
	limit("memory.max", m.Limit)
	limit("memory.low", m.Reservation)
	if m.Swap == nil {
		return nil
	}
	swap := *m.Swap // of memory and swap together
	if swap >= 0 {
		if m.Limit == nil || *m.Limit < 0 || swap < *m.Limit {
			return errors.New("a limit of memory and swap must not be below one of memory")
		}
		swap -= *m.Limit
	}
	limit("memory.swap.max", &swap)
	return nil
}

func blockV2(l *list, b *rspec.LinuxBlockIO) {
	if b == nil {
		return
	}
	if b.Weight != nil && *b.Weight != 0 {
		text(l, "io", "io.weight", "default "+fmt.Sprint(*b.Weight))
	}
	for _, d := range b.WeightDevice {
		if d.Weight != nil {
			text(l, "io", "io.weight", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight))
		}
	}
	keys := map[string]string{"read_bps_device": "rbps", "write_bps_device": "wbps", "read_iops_device": "riops", "write_iops_device": "wiops"}
	for file, rules := range throttles(b) {
		for _, d := range rules {
			text(l, "io", "io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, keys[file], d.Rate))
		}
	}
}

// checkFiles refuses names from a document that are no single file of a group.
func checkFiles(l []setting) error {
	for _, s := range l {
		if strings.Contains(s.file, "/") || slices.Contains([]string{"", ".", ".."}, s.file) {
			return fmt.Errorf("a control group has no file %q", s.file)
		}
	}
	return nil
}
