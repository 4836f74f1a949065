package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// maxJobs is how many jobs run at once; maxEnded is how many are remembered after their end.
const (
	maxJobs  = 64
	maxEnded = 64
)

// The states of a job.
const (
	jobRunning   = "running"
	jobSucceeded = "succeeded"
	jobFailed    = "failed"
	jobCancelled = "cancelled"
)

// job is a piece of work that takes time.
type job struct {
	number int
	path   dbus.ObjectPath
	kind   string // as the command of karapace is called
	target string // what it works on: an environment's id, a manifest, a reference, or nothing
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed when all below is settled

	mu     sync.Mutex
	state  string
	step   string
	moved  int64 // bytes of the present transfer
	total  int64
	result dict
	fault  *dbus.Error
}

// work is what a job does. Its engine tells the job how far it is.
type work func(ctx context.Context, e *engine.Engine) (dict, error)

// jobs are those that run, and the last of those that have ended.
type jobs struct {
	mu   sync.Mutex
	last int
	all  map[dbus.ObjectPath]*job
	none bool // no new ones
}

// add makes a job of ctx, or refuses it. It tells which old ones are forgotten for that.
func (l *jobs) add(ctx context.Context, kind, target string) (j *job, forgotten []dbus.ObjectPath, refused *dbus.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.none {
		return nil, nil, refuse(cancelled, "the service is ending")
	}
	if l.active() >= maxJobs {
		return nil, nil, refuse(limitExceeded, "%d jobs are running already: wait for one, or cancel it", maxJobs)
	}
	l.last++
	j = &job{
		number: l.last, path: dbus.ObjectPath(fmt.Sprint(jobsPath, "/", l.last)), kind: kind, target: text(target),
		ended: make(chan struct{}), state: jobRunning, result: dict{},
	}
	j.ctx, j.cancel = context.WithCancel(ctx)
	l.all[j.path] = j
	return j, l.forget(), nil
}

// forget drops the oldest of too many that have ended.
func (l *jobs) forget() (forgotten []dbus.ObjectPath) {
	list := l.sorted()
	for over := len(list) - l.active() - maxEnded; over > 0 && len(list) > 0; list = list[1:] {
		if list[0].done() {
			delete(l.all, list[0].path)
			forgotten = append(forgotten, list[0].path)
			over--
		}
	}
	return forgotten
}

func (l *jobs) sorted() []*job {
	return slices.SortedFunc(maps.Values(l.all), func(a, b *job) int { return a.number - b.number })
}

func (l *jobs) active() (n int) {
	for _, j := range l.all {
		if !j.done() {
			n++
		}
	}
	return n
}

// list are all, oldest first.
func (l *jobs) list() []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sorted()
}

func (l *jobs) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active()
}

func (l *jobs) find(path dbus.ObjectPath) (*job, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j, ok := l.all[path]
	return j, ok
}

// cancelAll cancels what runs, lets nothing begin any more, and returns when all has ended.
func (l *jobs) cancelAll() {
	l.mu.Lock()
	l.none = true
	list := l.sorted()
	l.mu.Unlock()
	for _, j := range list {
		j.cancel()
	}
	for _, j := range list {
		<-j.ended
	}
}

func (j *job) done() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

// properties are those of org.karapace.Job1.
func (j *job) properties() dict {
	j.mu.Lock()
	defer j.mu.Unlock()
	var name, message string
	if j.fault != nil {
		name, message = j.fault.Name, faultText(j.fault)
	}
	return dict{
		"Kind": dbus.MakeVariant(j.kind), "Environment": dbus.MakeVariant(j.target), "State": dbus.MakeVariant(j.state),
		"Step": dbus.MakeVariant(j.step), "Done": dbus.MakeVariant(j.moved), "Total": dbus.MakeVariant(j.total),
		"Error": dbus.MakeVariant(name), "Message": dbus.MakeVariant(message), "Result": dbus.MakeVariant(j.result),
	}
}

// settle ends a job with what came of it.
func (j *job) settle(result dict, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault = fault(err)
	switch {
	case err == nil:
		j.state = jobSucceeded
	case j.fault.Name == errorPrefix+cancelled:
		j.state = jobCancelled
	default:
		j.state = jobFailed
	}
	if result != nil {
		j.result = result
	}
}

// outcome is what a call that waited for the job returns.
func (j *job) outcome() (dict, *dbus.Error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.result, j.fault
}

func faultText(e *dbus.Error) string {
	if len(e.Body) > 0 {
		if s, ok := e.Body[0].(string); ok {
			return s
		}
	}
	return ""
}
