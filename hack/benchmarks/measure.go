package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// contender is a command line that is timed.
type contender struct {
	name    string
	argv    []string
	env     []string      // more than all have
	prepare func() error  // not timed, before every run
	settle  time.Duration // what it leaves running in the background is waited for, so that no other pays for it
	samples []time.Duration
	rss     int64 // largest resident set of the process and of what it waited for, in bytes; never less than our own
	err     error // why it is not measured, or not any more
}

// group is a set of contenders that take turns.
type group struct {
	name       string
	rounds     int
	cold       bool // no run beforehand that does not count
	contenders []*contender
	closers    []func()
}

// pause lies between two runs: what the kernel still tidies up after one is not to be paid by the next.
const pause = 5 * time.Millisecond

func (g *group) add(name string, argv ...string) *contender {
	c := &contender{name: name, argv: argv}
	g.contenders = append(g.contenders, c)
	return c
}

// missing adds a contender that cannot run.
func (g *group) missing(name string, err error) {
	g.add(name).err = err
}

func (g *group) close() {
	for _, f := range slices.Backward(g.closers) {
		f()
	}
}

// keepOnly drops the contenders that no row needs.
func (g *group) keepOnly(rows []row) {
	g.contenders = slices.DeleteFunc(g.contenders, func(c *contender) bool {
		return !slices.ContainsFunc(rows, func(r row) bool { return r.What == c.name || r.Against == c.name })
	})
}

// run runs the rounds. A contender that fails once runs no more.
func (g *group) run(ctx context.Context, l *lab) {
	if !g.cold {
		for _, c := range g.contenders {
			c.run(ctx, l)
			c.samples, c.rss = nil, 0
		}
	}
	for round := range g.rounds {
		for i := range g.contenders {
			if ctx.Err() != nil {
				return
			}
			g.contenders[(round+i)%len(g.contenders)].run(ctx, l)
		}
	}
}

func (c *contender) run(ctx context.Context, l *lab) {
	if c.err != nil {
		return
	}
	if c.prepare != nil {
		if c.err = c.prepare(); c.err != nil {
			return
		}
	}
	var spent time.Duration
	var rss int64
	if spent, rss, c.err = l.time(ctx, c.argv, c.env...); c.err == nil {
		c.samples = append(c.samples, spent)
		c.rss = max(c.rss, rss)
	}
	time.Sleep(pause + c.settle)
}

// time runs a command line and measures it from before fork until after wait.
func (l *lab) time(ctx context.Context, argv []string, env ...string) (spent time.Duration, rss int64, err error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, 0, err
	}
	if err := l.stderr.Truncate(0); err != nil {
		return 0, 0, err
	}
	attr := &os.ProcAttr{Dir: l.home, Env: append(slices.Clip(l.env), env...), Files: []*os.File{l.null, l.null, l.stderr}}

	start := time.Now()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, 0, err
	}
	stop := context.AfterFunc(ctx, func() { p.Signal(syscall.SIGTERM) })
	state, err := p.Wait()
	spent = time.Since(start)

	stop()
	if err != nil {
		return 0, 0, err
	}
	if !state.Success() {
		return 0, 0, fmt.Errorf("%s: %s", state, l.complaint())
	}
	return spent, state.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}

// complaint is the end of what the last command wrote to its standard error, in one line.
func (l *lab) complaint() string {
	b, _ := os.ReadFile(l.stderr.Name())
	if len(b) > 400 {
		b = b[len(b)-400:]
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// quantile is the value below which the given part of the sorted samples lies, interpolated.
func quantile(sorted []time.Duration, part float64) time.Duration {
	at := part * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + time.Duration((at-float64(i))*float64(sorted[i+1]-sorted[i]))
}
