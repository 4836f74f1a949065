package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// store is what the model needs of the engine.
type store interface {
	List() ([]engine.Environment, []error)
	Inspect(ref string) (*engine.Details, error)
	Snapshots(ref string) ([]engine.Snapshot, error)
	Diff(ctx context.Context, ref string, each func(engine.Change) error) error
	GC(ctx context.Context, dryRun bool) ([]engine.Garbage, error)
	// Do performs a verb on an environment, or for build on a manifest, and gives a sentence on what came of it.
	Do(ctx context.Context, v verb, ref, argument string, p engine.Progress) (string, error)
}

type verb string

const (
	build    verb = "build"
	commit   verb = "commit"
	restore  verb = "restore"
	freeze   verb = "freeze"
	unfreeze verb = "unfreeze"
	stop     verb = "stop"
	destroy  verb = "destroy"
	gc       verb = "gc"
)

// stopGrace is how long stop waits between TERM and KILL, as karapace stop does.
const stopGrace = 10 * time.Second

type engineStore struct{ *engine.Engine }

// Snapshots are those of an environment, oldest first.
func (s engineStore) Snapshots(ref string) ([]engine.Snapshot, error) {
	_, all, err := s.Engine.Snapshots(ref)
	return all, err
}

// Diff tells each in what an environment is not as at its current snapshot.
func (s engineStore) Diff(ctx context.Context, ref string, each func(engine.Change) error) error {
	_, err := s.quiet(engine.Silent{}).Diff(ctx, ref, "", each)
	return err
}

// GC lists what nothing needs, and without dryRun removes it.
func (s engineStore) GC(ctx context.Context, dryRun bool) ([]engine.Garbage, error) {
	return s.quiet(engine.Silent{}).GC(ctx, dryRun, false)
}

func (s engineStore) quiet(p engine.Progress) *engine.Engine {
	e := *s.Engine
	e.Progress = p
	return &e
}

// Do is as store says.
func (s engineStore) Do(ctx context.Context, v verb, ref, argument string, p engine.Progress) (string, error) {
	e := s.quiet(p)
	var err error
	switch v {
	case build:
		res, err := e.Build(ctx, engine.BuildOptions{Manifest: ref, Name: argument})
		if err != nil {
			return "", err
		}
		return "built " + label(e.Describe(res.Record)), nil
	case commit:
		c, err := e.Commit(ctx, ref, argument)
		if err != nil {
			return "", err
		}
		return "committed " + short(string(c.Snapshot.Snapshot)), nil
	case restore:
		r, err := e.Restore(ctx, ref, argument, false)
		switch {
		case err != nil:
			return "", err
		case r.Kept != "":
			return "restored " + short(string(r.Current)) + "; what was changed is kept as " + short(string(r.Kept)), nil
		}
		return "restored " + short(string(r.Current)), nil
	case freeze:
		_, _, err = e.Freeze(ctx, ref)
		return "frozen: nothing can be written", err
	case unfreeze:
		_, _, err = e.Unfreeze(ctx, ref)
		return "sessions can write again", err
	case stop:
		_, _, err = e.Stop(ctx, ref, stopGrace)
		return "stopped", err
	case destroy:
		_, err = e.Destroy(ctx, ref, engine.DestroyOptions{})
		return "destroyed", err
	case gc:
		all, err := e.GC(ctx, false, false)
		return "freed " + size(garbageSize(all)), err
	}
	return "", errors.New("unknown verb " + string(v))
}

func garbageSize(all []engine.Garbage) (n int64) {
	for _, g := range all {
		n += g.Size
	}
	return n
}

// feed sends progress to the model. A step that finds the channel full waits; a transfer is then left out, as more follow.
type feed struct {
	ctx context.Context
	ch  chan<- progressMsg
}

func (f feed) send(m progressMsg) {
	select {
	case f.ch <- m:
	case <-f.ctx.Done():
	}
}

// Step tells of a step that began.
func (f feed) Step(name string) { f.send(progressMsg{text: name}) }

// Note tells something the user should know.
func (f feed) Note(text string) { f.send(progressMsg{text: "note: " + text}) }

// TransferDone tells of the end of a transfer.
func (f feed) TransferDone(what string, _ int, done int64) {
	f.send(progressMsg{text: fmt.Sprintf("%s: %s", what, size(done))})
}

// Transfer tells how far a transfer is, in bytes.
func (f feed) Transfer(what string, _ int, done, total int64) {
	text := fmt.Sprintf("%s  %s", what, size(done))
	if total > 0 {
		text = fmt.Sprintf("%s  %3d%%  %s of %s", what, min(100, done*100/total), size(done), size(total))
	}
	select {
	case f.ch <- progressMsg{text: text, moving: true}:
	default:
	}
}
