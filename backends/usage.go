package backends

import (
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/usage"
)

// Usage is what a running container takes of the machine.
type Usage = usage.Usage

// Measure says of each of many state directories what its container takes; nil when that does not run or is not visible in
// this pid namespace. It needs no more rights than running the container, and changes nothing.
func Measure(stateDirs []string) ([]*Usage, error) {
	out := make([]*Usage, len(stateDirs))
	var list []usage.Container
	var place []int
	for i, dir := range stateDirs {
		pid, groups := envlock.Groups(dir)
		if pid != 0 {
			list, place = append(list, usage.Container{Pid: pid, Groups: groups}), append(place, i)
		}
	}
	if len(list) == 0 {
		return out, nil
	}
	all, err := usage.Measure(list)
	if err != nil {
		return nil, control("measure environments", err)
	}
	for i, at := range place {
		out[at] = &all[i]
	}
	return out, nil
}
