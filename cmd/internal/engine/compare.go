package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/probe"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// CompareOptions are what compare takes.
type CompareOptions struct {
	Backends []string // empty: all that are available
	Runs     int      // of each backend, for the times
	Args     []string // a command to run too; empty: none
}

// BackendComparison is an environment on several backends.
type BackendComparison struct {
	EnvID       manifest.EnvID   `json:"env_id"`
	ShortID     string           `json:"short_id"`
	Name        string           `json:"name"`
	Command     []string         `json:"command"`
	Runs        int              `json:"runs"`
	Backends    []ComparedResult `json:"backends"`
	Same        int              `json:"same"` // facts that are the same on all
	Differences []FactDifference `json:"differences"`
}

// ComparedResult is how an environment did on one backend.
type ComparedResult struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Path     string `json:"path"`
	Ran      bool   `json:"ran"`
	Reason   string `json:"reason"`    // why it did not run
	ExitCode int    `json:"exit_code"` // of the command
	Times    Times  `json:"times"`
}

// Times are medians of a backend's runs, in milliseconds.
type Times struct {
	Start float64 `json:"start_ms"` // from the call of the backend to the first instruction of a process inside
	Run   float64 `json:"run_ms"`   // of the command
	Stop  float64 `json:"stop_ms"`  // from its end until nothing of the container is left
}

// Total is the sum of the three.
func (t Times) Total() float64 { return t.Start + t.Run + t.Stop }

// ErrNoBackend says that there is nothing to compare.
var ErrNoBackend = &failure.Error{Kind: failure.Backend, Err: errors.New("none of the backends can run here"), Hint: "karapace backends says why; karapace doctor helps"}

// maxRuns bounds the time and the scratch space of a comparison.
const maxRuns = 1000

// Compare runs an environment on several backends, each time in a throw-away writable layer, one backend after the other in
// turns. A backend that fails does not keep the others from being compared.
func (e *Engine) Compare(ctx context.Context, ref string, o CompareOptions) (*BackendComparison, error) {
	if o.Runs < 1 || o.Runs > maxRuns {
		return nil, failure.New(failure.Usage, fmt.Errorf("--runs is a number from 1 to %d, not %d", maxRuns, o.Runs), "")
	}
	chosen, err := e.chosen(ctx, o.Backends)
	if err != nil {
		return nil, err
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	r, use, err := e.use(ctx, s, r)
	if err != nil {
		return nil, err
	}
	defer use.Unlock()
	scratch, err := s.Scratch("compare")
	if err != nil {
		return nil, storeFailure(err)
	}
	c := &comparing{Engine: e, s: s, r: r, o: o, dir: scratch.Dir}
	for _, info := range chosen {
		c.contestants = append(c.contestants, c.contestant(ctx, info))
	}
	err = c.race(ctx)
	scratch.Release()
	if sweepErr := e.Sweep(context.WithoutCancel(ctx)); err == nil {
		err = sweepErr
	}
	if err != nil {
		return nil, err
	}
	return c.result(), nil
}

// chosen are the backends with these names, or all that are.
func (e *Engine) chosen(ctx context.Context, names []string) ([]BackendInfo, error) {
	all := e.Backends(ctx)
	if len(names) == 0 {
		return all, nil
	}
	var out []BackendInfo
	for _, n := range names {
		i := slices.IndexFunc(all, func(b BackendInfo) bool { return b.Name == n })
		switch {
		case i < 0:
			return nil, failure.New(failure.Usage, fmt.Errorf("there is no backend %q", n), "karapace backends shows what there is")
		case !slices.ContainsFunc(out, func(b BackendInfo) bool { return b.Name == n }):
			out = append(out, all[i])
		}
	}
	return out, nil
}

// comparing is a comparison on its way.
type comparing struct {
	*Engine
	s           *storage.Store
	r           *storage.Record
	o           CompareOptions
	dir         string
	n           int // containers so far
	contestants []*contestant
}

// contestant is one backend.
type contestant struct {
	ComparedResult
	rt    backends.Runtime // nil when it is out
	facts []probe.Fact
	times [][3]time.Duration
}

func (c *comparing) contestant(ctx context.Context, info BackendInfo) *contestant {
	b := &contestant{ComparedResult: ComparedResult{Name: info.Name, Version: info.Version, Path: info.Path, Reason: info.Reason}}
	if !info.Available {
		return b
	}
	rt, err := Runtime(ctx, info.Name, c.BackendDirs)
	if err != nil {
		b.Reason = err.Error()
		return b
	}
	b.rt, b.Ran = rt, true
	return b
}

// race has every backend tell its facts, and then takes the times, in turns.
func (c *comparing) race(ctx context.Context) error {
	c.Progress.Step("look at what a process sees on each backend")
	each := func(f func(*contestant) error) error {
		for _, b := range c.contestants {
			if b.rt == nil {
				continue
			}
			err := f(b)
			if ctx.Err() != nil {
				return failure.New(failure.Interrupted, errors.New("interrupted; the store is as it was"), "")
			}
			if err != nil { // the others go on
				b.Ran, b.Reason, b.rt = false, err.Error(), nil
			}
		}
		return nil
	}
	if err := each(func(b *contestant) error { return c.see(ctx, b) }); err != nil {
		return err
	}
	c.Progress.Step(fmt.Sprintf("take the time of %d runs", c.o.Runs))
	for range c.o.Runs {
		if err := each(func(b *contestant) error { return c.time(ctx, b) }); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(c.contestants, func(b *contestant) bool { return b.Ran }) {
		return c.none()
	}
	return nil
}

// none is the error of a comparison in which nothing ran.
func (c *comparing) none() error {
	if len(c.contestants) == 1 {
		return failure.New(failure.Backend, fmt.Errorf("the backend %s did not run: %s", c.contestants[0].Name, c.contestants[0].Reason), ErrNoBackend.Hint)
	}
	return ErrNoBackend
}

// see asks what a process sees and, where there is a command, runs that too and keeps what it printed.
func (c *comparing) see(ctx context.Context, b *contestant) error {
	report, _, box, err := c.once(ctx, b, []string{probe.Path, probe.Facts}, backends.Stdio{})
	if err != nil {
		return err
	}
	b.facts = neutral(report.Facts, box)
	if len(c.o.Args) == 0 {
		return nil
	}
	out, err := newCapture()
	if err != nil {
		return err
	}
	errs, err := newCapture()
	if err != nil {
		out.text()
		return err
	}
	_, _, box, err = c.once(ctx, b, c.o.Args, backends.Stdio{Out: out.w, Err: errs.w}, &b.ExitCode)
	stdout, stderr := out.text(), errs.text()
	if err != nil {
		return err
	}
	b.facts = append(b.facts, neutral([]probe.Fact{
		{Group: "command", Name: "exit code", Value: fmt.Sprint(b.ExitCode)}, {Group: "command", Name: "stdout", Value: stdout}, {Group: "command", Name: "stderr", Value: stderr},
	}, box)...)
	return nil
}

// time takes the time of one run, whose output is dropped.
func (c *comparing) time(ctx context.Context, b *contestant) error {
	_, times, _, err := c.once(ctx, b, append([]string{probe.Path, probe.Time}, c.o.Args...), backends.Stdio{})
	b.times = append(b.times, times)
	return err
}

// once runs one container from beginning to end. Commands other than the probe leave no report.
func (c *comparing) once(ctx context.Context, b *contestant, args []string, stdio backends.Stdio, code ...*int) (r *probe.Report, times [3]time.Duration, box *backends.Container, err error) {
	c.n++
	dir := filepath.Join(c.dir, fmt.Sprintf("%s-%d", filepath.Base(c.dir), c.n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, times, nil, storeFailure(err)
	}
	report := filepath.Join(dir, "report")
	if err := os.WriteFile(report, nil, 0o600); err != nil {
		return nil, times, nil, storeFailure(err)
	}
	spec, err := c.spec(c.s, c.r, SessionOptions{Args: args})
	if err != nil {
		return nil, times, nil, err
	}
	spec.Mounts = append(spec.Mounts, c.probeMounts(report)...)
	box, err = c.throwAway(c.s, c.r, spec, dir)
	if err != nil {
		return nil, times, nil, err
	}
	called := probe.Now()
	exit, err := b.rt.Run(ctx, box, stdio)
	if goneErr := c.gone(context.WithoutCancel(ctx), box.State); err == nil {
		err = goneErr
	}
	gone := probe.Now()
	var be *backends.Error
	switch {
	case len(code) > 0 && errors.As(err, &be) && be.Kind == backends.NotFound:
		*code[0] = 127
		return nil, times, box, nil
	case len(code) > 0 && errors.As(err, &be) && be.Kind == backends.NotExecutable:
		*code[0] = 126
		return nil, times, box, nil
	case err != nil:
		return nil, times, nil, err
	case len(code) > 0:
		*code[0] = exit.ShellCode()
		return nil, times, box, nil
	}
	if r, err = readReport(report); err != nil {
		return nil, times, nil, fmt.Errorf("the process inside ended with %d and told nothing: %w", exit.ShellCode(), err)
	}
	return r, [3]time.Duration{span(called, r.Began), span(r.Began, r.Ended), span(r.Ended, gone)}, box, nil
}

// span is the time between two moments; a process inside that lies about them gets no time back.
func span(from, to int64) time.Duration { return time.Duration(max(0, to-from)) }

func (c *comparing) result() *BackendComparison {
	out := &BackendComparison{
		EnvID: c.r.EnvID, ShortID: c.r.EnvID.Short(), Name: c.r.Name, Command: append([]string{}, c.o.Args...), Runs: c.o.Runs, Differences: []FactDifference{},
	}
	seen := map[string][]probe.Fact{}
	var names []string
	for _, b := range c.contestants {
		if b.Ran {
			b.Times = medians(b.times)
			seen[b.Name] = b.facts
			names = append(names, b.Name)
		}
		out.Backends = append(out.Backends, b.ComparedResult)
	}
	out.Same, out.Differences = contrast(names, seen)
	return out
}
