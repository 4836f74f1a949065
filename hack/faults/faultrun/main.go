// Command faultrun runs a command under a fault: see package faults.
//
//	faultrun -under DIR[,DIR...] [-programs NAME,...] [-at N] [-do ACTION] [-trace FILE] -- COMMAND...
//
// It ends with the command's exit code, after a line on standard error that says what happened.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/karapace/karapace/hack/faults"
)

func main() {
	faults.Main()
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultrun:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run() (int, error) {
	under := flag.String("under", "", "directories, separated by commas")
	programs := flag.String("programs", "", "names of programs whose start is a point too, separated by commas")
	at := flag.Int("at", 0, "the point to act at; 0 only counts")
	do := flag.String("do", "nothing", "kill, kill-caller, an errno's name, delay=DURATION, powercut=1:DIR or powercut=2:DIR; ERRNO+ and delay=D+ from there on")
	trace := flag.String("trace", "", "file to write the points to")
	limit := flag.Duration("limit", time.Minute, "kill everything after this time")
	flag.Parse()
	action, err := faults.ParseAction(*do)
	if err != nil {
		return 0, err
	}
	if flag.NArg() == 0 {
		return 0, fmt.Errorf("name a command")
	}
	plan := faults.Plan{At: *at, Do: action, Trace: *trace, Limit: *limit, Programs: split(*programs)}
	for _, dir := range split(*under) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return 0, err
		}
		abs, err := filepath.Abs(real)
		if err != nil {
			return 0, err
		}
		plan.Under = append(plan.Under, abs)
	}
	cmd := exec.Command(flag.Arg(0), flag.Args()[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	o, err := faults.Run(plan, cmd)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "faultrun: %d points, acted at %q, exit code %d, %d processes left, timed out: %v\n", o.Points, o.Fired, o.Exit, o.Left, o.TimedOut)
	return o.Exit, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
