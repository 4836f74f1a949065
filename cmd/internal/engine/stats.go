package engine

import (
	"errors"
	"fmt"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Stats are what a running environment takes of the machine at a moment. The JSON names are a promise, see docs/cli.md.
type Stats struct {
	EnvID       manifest.EnvID    `json:"env_id"`
	ShortID     string            `json:"short_id"`
	Name        string            `json:"name"`
	CPU         int64             `json:"cpu_usec"` // microseconds
	Memory      int64             `json:"memory_bytes"`
	MemoryLimit int64             `json:"memory_limit_bytes"` // 0 is none
	Processes   int               `json:"processes"`
	Threads     int               `json:"threads"`
	Read        int64             `json:"read_bytes"`
	Written     int64             `json:"written_bytes"`
	From        map[string]string `json:"from"` // cpu, memory, io: "cgroup" or "processes"; one that is missing is not known
}

// Stats measures the environment that ref names, which has to run, or with an empty ref all that do.
func (e *Engine) Stats(ref string) ([]Stats, error) {
	if ref == "" {
		return e.statsOfAll()
	}
	_, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	list, err := e.measure([]storage.Summary{r.Summary()})
	if err == nil && len(list) == 0 {
		err = failure.New(failure.General, fmt.Errorf("environment %s is not running", displayName(r)), "karapace enter "+displayName(r)+" starts it")
	}
	return list, err
}

func (e *Engine) statsOfAll() ([]Stats, error) {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return []Stats{}, nil
	}
	if err != nil {
		return nil, err
	}
	summaries, bad := s.Summaries()
	list, err := e.measure(summaries)
	if err == nil {
		err = storeFailure(errors.Join(bad...))
	}
	return list, err
}

func (e *Engine) measure(summaries []storage.Summary) ([]Stats, error) {
	dirs := make([]string, len(summaries))
	for i, sum := range summaries {
		dirs[i] = e.stateDir(sum.EnvID)
	}
	measured, err := backends.Measure(dirs)
	if err != nil {
		return nil, backendFailure(err)
	}
	list := []Stats{}
	for i, u := range measured {
		if u == nil {
			continue
		}
		list = append(list, Stats{
			EnvID: summaries[i].EnvID, ShortID: summaries[i].EnvID.Short(), Name: summaries[i].Name,
			CPU: u.CPU.Microseconds(), Memory: u.Memory, MemoryLimit: u.MemoryLimit, Processes: u.Processes, Threads: u.Threads,
			Read: u.Read, Written: u.Written, From: u.From,
		})
	}
	return list, nil
}
