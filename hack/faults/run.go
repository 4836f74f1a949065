package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Plan says which points there are, and what happens at one of them.
type Plan struct {
	Under    []string      // directories, without symbolic links in their paths
	Programs []string      // base names: the start of one is a point too
	At       int           // the point to act at; 0 only counts
	Do       Action        // what to do there
	Trace    string        // file to write all points to; empty: none
	Limit    time.Duration // after which the tree is killed; 0 is a minute
}

// Outcome is what became of a command.
type Outcome struct {
	Points   int    // met
	Fired    string // the point that was acted at, "" when it was not met
	Exit     int    // of the command; 128+N when signal N ended it
	Left     int    // processes that outlived the command and had to be killed
	TimedOut bool   // the limit was reached
}

// Run runs cmd as the plan says and waits for the whole tree. cmd has not been started; its files are used as they are. The
// calling program must call Main first of all. That the command failed is no error.
func Run(p Plan, cmd *exec.Cmd) (Outcome, error) {
	var o Outcome
	fail := func(err error) (Outcome, error) { return o, fmt.Errorf("supervise %s: %w", cmd.Path, err) }
	if cmd.Err != nil {
		return fail(cmd.Err)
	}
	plan, err := json.Marshal(p.wire())
	if err != nil {
		return fail(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	cmd.Args = append([]string{supervisorName, string(plan), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/proc/self/exe"
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fail(err)
	}
	report, readErr := io.ReadAll(r)
	waitErr := cmd.Wait()
	if readErr != nil || len(report) == 0 {
		return fail(errors.Join(errors.New("the supervisor told nothing"), readErr, waitErr))
	}
	return o, json.Unmarshal(report, &o)
}

const (
	supervisorName = "karapace-faults-supervisor"
	traceeName     = "karapace-faults-tracee"
	reportFile     = 3
)

// Main makes the process a supervisor or a tracee if it was started as one, and does not return then. A program that
// calls Run calls it before anything else.
func Main() {
	switch {
	case len(os.Args) > 2 && os.Args[0] == supervisorName:
		var p wirePlan
		err := json.Unmarshal([]byte(os.Args[1]), &p)
		if err == nil {
			err = report(p, os.Args[2:])
		}
		end(err)
	case len(os.Args) > 2 && os.Args[0] == traceeName:
		end(trace(os.Args[1] == "programs", os.Args[2:]))
	}
}

// report supervises a command and writes down what became of it.
func report(p wirePlan, argv []string) error {
	plan, err := p.plan()
	if err != nil {
		return err
	}
	unix.CloseOnExec(reportFile)
	out := os.NewFile(reportFile, "report")
	s, err := newSupervisor(plan)
	if err != nil {
		return err
	}
	o, err := s.supervise(argv)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
		os.Exit(125)
	}
	os.Exit(0)
}

// wirePlan is a Plan on its way to the supervisor.
type wirePlan struct {
	Plan
	Do string
}

func (p Plan) wire() wirePlan { return wirePlan{p, p.Do.String()} }

func (w wirePlan) plan() (p Plan, err error) {
	p = w.Plan
	p.Do, err = ParseAction(w.Do)
	return p, err
}
