package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/surroundings"
)

const (
	ownPrefix   = "org.karapace." // of interfaces
	managerName = "org.karapace.Manager1"
	managerPath = dbus.ObjectPath("/org/karapace/Manager1")
	jobName     = "org.karapace.Job1"
	jobsPath    = managerPath + "/jobs"

	// apiVersion counts changes that a caller can notice.
	apiVersion = uint32(1)
)

// service is the program on the bus.
type service struct {
	conn    *dbus.Conn
	program string // the karapace binary
	store   string // as it was asked for
	root    string // of the store
	idle    time.Duration
	jobs    jobs
	traffic *traffic
	callers callers
	changed chan struct{} // something has come or gone
	ending  context.CancelFunc
	ctx     context.Context // of all work

	looking sync.Mutex
	seen    []engine.Environment // what the last look at the store has found
}

// newService connects to the session bus and exports everything, but takes no name yet.
func newService(program, store string, idle time.Duration) (*service, error) {
	s := &service{program: program, store: store, idle: idle, jobs: jobs{all: map[dbus.ObjectPath]*job{}}, changed: make(chan struct{}, 1)}
	e, err := s.engine("dbus", engine.Silent{})
	if err != nil {
		return nil, err
	}
	s.root = e.StoreRoot
	s.seen, _ = e.List()
	s.traffic = newTraffic(s.changed)
	s.ctx, s.ending = context.WithCancel(context.Background())
	s.conn, err = dbus.ConnectSessionBus(dbus.WithSerialGenerator(s.traffic),
		dbus.WithIncomingInterceptor(s.traffic.incoming), dbus.WithOutgoingInterceptor(s.traffic.outgoing))
	if err != nil {
		return nil, fmt.Errorf("connect to the session bus: %w", err)
	}
	s.callers = callers{conn: s.conn, uid: uint32(os.Getuid()), changed: s.changed}
	if err := errors.Join(s.export(), s.callers.watch()); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// engine is an engine for one piece of work.
func (s *service) engine(word string, p engine.Progress) (*engine.Engine, error) {
	e, err := surroundings.Engine(s.program, s.store, []string{word})
	if err == nil {
		e.Progress = p
	}
	return e, err
}

// serve answers until nothing has been to do for a while, or ctx ends.
func (s *service) serve(ctx context.Context) error {
	defer s.conn.Close()
	defer s.ending()
	if taken, err := s.takeName(); err != nil || !taken {
		return err // another one answers
	}
	go s.follow()
	timer := time.NewTimer(s.idle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.end()
		case <-s.conn.Context().Done():
			s.jobs.cancelAll()
			return errors.New("the session bus has gone")
		case <-s.changed:
			timer.Reset(s.idle)
		case <-timer.C:
			if left, err := s.leave(ctx); left || err != nil {
				return err
			}
		}
	}
}

func (s *service) takeName() (bool, error) {
	reply, err := s.conn.RequestName(managerName, dbus.NameFlagDoNotQueue)
	if err != nil {
		return false, fmt.Errorf("take the name %s: %w", managerName, err)
	}
	return reply == dbus.RequestNameReplyPrimaryOwner, nil
}

func (s *service) busy() bool {
	return s.traffic.count() > 0 || s.jobs.count() > 0 || s.callers.subscribed() > 0
}

// leave gives the name back when there is nothing to do, and tells whether it is time to go. What was called before the bus had
// the name back has come before the bus's answer: then the name is taken again. If another service has it by then, this one ends
// with what it was asked for.
func (s *service) leave(ctx context.Context) (left bool, err error) {
	if s.idle <= 0 || s.busy() {
		return false, nil
	}
	if _, err := s.conn.ReleaseName(managerName); err != nil {
		return true, fmt.Errorf("give the name %s back: %w", managerName, err)
	}
	if !s.busy() {
		return true, nil
	}
	if taken, err := s.takeName(); err != nil || taken {
		wake(s.changed)
		return false, err
	}
	return true, s.drain(ctx)
}

// drain waits for the end of all that was begun.
func (s *service) drain(ctx context.Context) error {
	for s.traffic.count() > 0 || s.jobs.count() > 0 {
		select {
		case <-ctx.Done():
			return s.end()
		case <-s.conn.Context().Done():
			s.jobs.cancelAll()
			return errors.New("the session bus has gone")
		case <-s.changed:
		}
	}
	return nil
}

// end cancels all work, and returns when everybody has been answered.
func (s *service) end() error {
	if _, err := s.conn.ReleaseName(managerName); err != nil {
		s.jobs.cancelAll()
		return err
	}
	s.jobs.cancelAll()
	s.ending() // what else goes on
	for s.traffic.count() > 0 {
		select {
		case <-s.conn.Context().Done():
			return nil
		case <-s.changed:
		}
	}
	return nil
}

// emit sends a signal. That the bus has gone is noticed elsewhere.
func (s *service) emit(path dbus.ObjectPath, face, name string, values ...any) {
	_ = s.conn.Emit(path, face+"."+name, values...)
}

// start begins a job, or refuses it: then whoever asked still has what the work would have let go.
func (s *service) start(kind, target string, do work) (*job, *dbus.Error) {
	e, err := s.engine(kind, engine.Silent{})
	if err != nil {
		return nil, fault(err)
	}
	j, forgotten, refused := s.jobs.add(s.ctx, kind, target)
	if refused != nil {
		return nil, refused
	}
	wake(s.changed)
	for _, path := range forgotten {
		s.emit(managerPath, objectsName, "InterfacesRemoved", path, []string{jobName, propertiesName, introspectableName})
	}
	s.emit(managerPath, objectsName, "InterfacesAdded", j.path, map[string]dict{jobName: j.properties()})
	e.Progress = &feed{s: s, j: j}
	go s.do(j, e, do)
	return j, nil
}

// do runs a job to its end. Who is told of that finds the environments told of before.
func (s *service) do(j *job, e *engine.Engine, do work) {
	defer j.cancel()
	result, err := do(j.ctx, e)
	s.look()
	j.settle(result, err)
	now := j.properties()
	s.emit(j.path, propertiesName, "PropertiesChanged", jobName,
		dict{"State": now["State"], "Error": now["Error"], "Message": now["Message"], "Result": now["Result"]}, []string{})
	s.emit(j.path, jobName, "Finished", err == nil, now["Error"].Value(), now["Message"].Value(), now["Result"].Value())
	close(j.ended)
	wake(s.changed)
}

// wait is for methods that return what came of a job. It goes on when the caller goes.
func (s *service) wait(kind, target string, do work) (dict, *dbus.Error) {
	j, refused := s.start(kind, target, do)
	if refused != nil {
		return nil, refused
	}
	<-j.ended
	return j.outcome()
}

// begin is for methods that return the job.
func (s *service) begin(kind, target string, do work) (dbus.ObjectPath, *dbus.Error) {
	j, refused := s.start(kind, target, do)
	if refused != nil {
		return "/", refused
	}
	return j.path, nil
}
