// Package usage measures what containers take of the machine: time of the processor, memory, processes, bytes from and to
// disks.
//
// A control group of the container's own, which it has when it is limited, tells best: of all that has ever been in it. What no
// group tells is added up over the processes that are in the container's pid namespace now, or in one below it. The files of
// both are those of proc(5) and of the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1.
package usage

import "time"

// Usage is what a container takes. What could not be found out is 0, and has no entry in From.
type Usage struct {
	CPU         time.Duration // of all its processors
	Memory      int64         // bytes; what processes share among themselves counts once
	MemoryLimit int64         // bytes; 0 is none
	Processes   int
	Threads     int
	Read        int64 // bytes, from disks
	Written     int64 // bytes, to disks
	// From says how cpu, memory and io were measured: by FromGroup or by FromProcesses.
	From map[string]string
}

const (
	FromGroup     = "cgroup"
	FromProcesses = "processes"
)

// Names of what is measured, in From.
const (
	CPU    = "cpu"
	Memory = "memory"
	IO     = "io"
)

// Container is one to measure.
type Container struct {
	Pid    int      // of its first process
	Groups []string // directories of its control groups, if it has any
}

// Measure measures many containers while it looks at every process of the system once. One that has ended meanwhile has
// no processes.
func Measure(list []Container) ([]Usage, error) {
	all, err := system().processes(list)
	if err != nil {
		return nil, err
	}
	for i, c := range list {
		readGroups(c.Groups, &all[i])
	}
	return all, nil
}
