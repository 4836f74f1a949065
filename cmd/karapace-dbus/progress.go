package main

import (
	"time"
)

// transferEvery bounds how often a transfer is told of.
const transferEvery = 100 * time.Millisecond

// feed tells the bus how far a job is. An engine calls it from one goroutine at a time.
type feed struct {
	s    *service
	j    *job
	told time.Time
}

// Step tells of a step that began.
func (f *feed) Step(name string) { f.tell(name, 0, 0) }

// Transfer tells how far a transfer is, in bytes.
func (f *feed) Transfer(what string, _ int, done, total int64) {
	if now := time.Now(); now.Sub(f.told) >= transferEvery {
		f.told = now
		f.tell(what, done, total)
	}
}

// TransferDone tells of the end of a transfer, in bytes.
func (f *feed) TransferDone(what string, _ int, done int64) {
	f.told = time.Time{}
	f.tell(what, done, done)
}

// Note tells something the user should know.
func (f *feed) Note(note string) { f.s.emit(f.j.path, jobName, "Note", text(note)) }

func (f *feed) tell(step string, done, total int64) {
	step = text(step)
	f.j.mu.Lock()
	f.j.step, f.j.moved, f.j.total = step, done, total
	f.j.mu.Unlock()
	f.s.emit(f.j.path, jobName, "Progress", step, done, total)
}
