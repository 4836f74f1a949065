package storage

import (
	"cmp"
	"fmt"
)

// The states of an environment. Whether it runs is no state: the kernel knows.
const (
	StateBuilt    = "built"
	StateFrozen   = "frozen"   // nothing is written to its root
	StateArchived = "archived" // kept, not entered
)

// Action is what a command does to an environment. What only looks is always allowed and is no action.
type Action string

// The actions, by the commands that do them; exec is as enter.
const (
	Enter          Action = "enter"
	Run            Action = "run"
	Commit         Action = "commit"
	Restore        Action = "restore"
	RemoveSnapshot Action = "snapshots rm"
	Freeze         Action = "freeze"
	Unfreeze       Action = "unfreeze"
	Archive        Action = "archive"
	Unarchive      Action = "unarchive"
	Rename         Action = "rename"
	Destroy        Action = "destroy"
	Rebuild        Action = "rebuild"
)

// Rule is one row of the table of transitions: what helps before an action that a state does not allow. Empty: allowed.
type Rule struct {
	Action           Action
	Frozen, Archived string
	Running          string // while a session is in it
	Forced           bool   // --force does it all the same, after stopping it where it runs
}

// Transitions is the table of what may be done to an environment in which state. What changes nothing, as freezing what
// is frozen, is allowed.
func Transitions() []Rule {
	const frozen, archived, running = "unfreeze", "unarchive", "stop"
	return []Rule{
		{Action: Enter, Archived: archived},
		{Action: Run, Archived: archived},
		{Action: Commit, Frozen: frozen, Archived: archived, Running: running},
		{Action: Restore, Frozen: frozen, Archived: archived, Running: running},
		{Action: RemoveSnapshot, Frozen: frozen, Archived: archived, Running: running},
		{Action: Freeze, Archived: archived, Running: running},
		{Action: Unfreeze, Archived: archived, Running: running},
		{Action: Archive, Running: running},
		{Action: Unarchive, Running: running},
		{Action: Rename},
		{Action: Destroy, Archived: archived, Running: running, Forced: true},
		{Action: Rebuild, Frozen: frozen, Archived: archived, Running: running, Forced: true},
	}
}

// StateError says that an environment's state does not allow an action.
type StateError struct {
	Name, State string
	Helps       string // a command to give before
	Forced      bool   // --force helps too
}

func (e *StateError) Error() string {
	return fmt.Sprintf("environment %s is %s", e.Name, e.State)
}

// Hint is what to do first.
func (e *StateError) Hint() string {
	if e.Forced {
		return fmt.Sprintf("karapace %s %s, or --force", e.Helps, e.Name)
	}
	return fmt.Sprintf("karapace %s %s", e.Helps, e.Name)
}

// RunningError says that what was asked for cannot be done to an environment while it runs.
type RunningError struct{ Name string }

func (e *RunningError) Error() string { return "environment " + e.Name + " is running" }

// Allow returns a *StateError when the state of an environment does not allow an action.
func (r *Record) Allow(a Action, force bool) error {
	for _, rule := range Transitions() {
		if rule.Action != a || force && rule.Forced {
			continue
		}
		if helps := rule.helps(r.State); helps != "" {
			return &StateError{Name: r.Title(), State: r.State, Helps: helps, Forced: rule.Forced}
		}
	}
	return nil
}

func (r *Rule) helps(state string) string {
	switch state {
	case StateFrozen:
		return r.Frozen
	case StateArchived:
		return r.Archived
	}
	return ""
}

// checkState says what is wrong with the state of a record that was read.
func (r *Record) checkState() string {
	for _, state := range []string{r.State, cmp.Or(r.Was, StateBuilt)} {
		switch state {
		case StateBuilt, StateFrozen, StateArchived:
		default:
			return fmt.Sprintf("it knows no state %q", state)
		}
	}
	return ""
}

// Become gives an environment another state; an archived one remembers the state it had.
func (r *Record) Become(state string) {
	switch {
	case state == r.State:
	case state == StateArchived:
		r.Was, r.State = r.State, state
	default:
		r.Was, r.State = "", state
	}
}

// After is the state that an action leads to.
func (r *Record) After(a Action) string {
	switch {
	case a == Freeze:
		return StateFrozen
	case a == Archive:
		return StateArchived
	case a == Unfreeze && r.State == StateFrozen:
		return StateBuilt
	case a == Unarchive && r.State == StateArchived:
		return cmp.Or(r.Was, StateBuilt)
	}
	return r.State
}
