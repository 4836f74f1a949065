package engine

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/probe"
)

// FactDifference is a fact that is not the same on all backends.
type FactDifference struct {
	Group  string             `json:"group"`
	Name   string             `json:"name"`
	Values map[string]*string `json:"values"` // by backend; null: there is no such thing on it
}

// contrast compares what processes have seen. The order is that of the first backend that has a fact.
func contrast(backends []string, facts map[string][]probe.Fact) (same int, differences []FactDifference) {
	differences = []FactDifference{}
	type key struct{ group, name string }
	values := map[key]map[string]*string{}
	var order []key
	for _, b := range backends {
		for _, f := range facts[b] {
			k := key{f.Group, f.Name}
			if values[k] == nil {
				values[k] = map[string]*string{}
				order = append(order, k)
			}
			values[k][b] = &f.Value
		}
	}
	for _, k := range order {
		if equal(backends, values[k]) {
			same++
			continue
		}
		d := FactDifference{Group: k.group, Name: k.name, Values: map[string]*string{}}
		for _, b := range backends {
			d.Values[b] = values[k][b]
		}
		differences = append(differences, d)
	}
	slices.SortStableFunc(differences, func(a, b FactDifference) int { return strings.Compare(a.Group, b.Group) })
	return same, differences
}

func equal(backends []string, values map[string]*string) bool {
	for _, b := range backends {
		if values[b] == nil || *values[b] != *values[backends[0]] {
			return false
		}
	}
	return true
}

// neutral takes out of facts what differs from run to run: the container's directory and name, and which namespace it has got.
func neutral(facts []probe.Fact, c *backends.Container) []probe.Fact {
	names := strings.NewReplacer(filepath.Dir(c.State), "SCRATCH", c.ID, "CONTAINER")
	for i, f := range facts {
		f.Name, f.Value = names.Replace(f.Name), names.Replace(f.Value)
		if f.Group == "namespaces" {
			own, err := os.Readlink("/proc/self/ns/" + f.Name)
			switch {
			case err == nil && own == f.Value:
				f.Value = "the caller's"
			case strings.HasPrefix(f.Value, f.Name+":["):
				f.Value = "its own"
			}
		}
		facts[i] = f
	}
	return facts
}

// medians are those of each phase.
func medians(runs [][3]time.Duration) Times {
	median := func(phase int) float64 {
		var all []time.Duration
		for _, r := range runs {
			all = append(all, r[phase])
		}
		if len(all) == 0 {
			return 0
		}
		slices.Sort(all)
		m := all[len(all)/2]
		if len(all)%2 == 0 {
			m = (m + all[len(all)/2-1]) / 2
		}
		return float64(m.Round(time.Microsecond)) / float64(time.Millisecond)
	}
	return Times{median(0), median(1), median(2)}
}

const (
	reportLimit  = 4 << 20  // bytes
	captureLimit = 64 << 10 // bytes kept of each stream of a command
)

// readReport reads what a probe has written, into a file that the command inside could write to as well.
func readReport(path string) (*probe.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r probe.Report
	if err := json.NewDecoder(io.LimitReader(f, reportLimit)).Decode(&r); err != nil {
		return nil, err
	}
	if r.Began == 0 {
		return nil, errors.New("its report is empty")
	}
	return &r, nil
}

// capture keeps the beginning of what a command prints and lets it print on.
type capture struct {
	w    *os.File
	done chan string
}

func newCapture() (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &capture{w: w, done: make(chan string, 1)}
	go func() {
		defer r.Close()
		kept, _ := io.ReadAll(io.LimitReader(r, captureLimit))
		if n, _ := io.Copy(io.Discard, r); n > 0 {
			kept = append(kept, "\n(and more)"...)
		}
		c.done <- strings.ToValidUTF8(string(kept), "\ufffd")
	}()
	return c, nil
}

// text is what was kept, once nobody prints any more.
func (c *capture) text() string {
	c.w.Close()
	return <-c.done
}
