// Command conformance runs the validation programs of github.com/opencontainers/runtime-tools over several runtimes, in
// one run, and prints a table of program by runtime.
//
// A program speaks the Test Anything Protocol. It passes when it exits with 0 and has no line "not ok" but those it
// marks as TODO itself. A star marks a pass with a reservation: the program printed the diagnosis of an error and counted
// no test, as some of them do when what they look for went wrong.
//
// Some programs change what belongs to the caller: they give /dev/null away and mount in the caller's namespace. So each
// one runs in mount, host name and process namespaces of its own with a /dev/null that is thrown away (package file
// isolate.go), and what it leaves running dies with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

type options struct {
	suite, work string
	only        string
	verbose     bool
}

func main() {
	var o options
	flag.StringVar(&o.suite, "suite", "", "directory of the compiled programs, runtimetest and the root file system's archive")
	flag.StringVar(&o.work, "work", "", "an empty directory to work in")
	flag.StringVar(&o.only, "only", "", "comma-separated names of the programs to run; all when empty")
	flag.BoolVar(&o.verbose, "v", false, "print what failed programs said")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: conformance -suite DIR -work DIR [-only NAME,...] [-v] NAME=COMMAND...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.suite == "" || o.work == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ok, err := run(ctx, o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports whether the first runtime passed every program.
func run(ctx context.Context, o options, args []string) (bool, error) {
	runtimes, err := wrappers(o.work, args)
	if err != nil {
		return false, err
	}
	programs, err := list(o.suite, o.only)
	if err != nil {
		return false, err
	}
	t := &table{verbose: o.verbose, programs: programs}
	for _, r := range runtimes {
		t.runtimes = append(t.runtimes, r.name)
	}
	for _, p := range programs {
		row := make([]result, len(runtimes))
		for i, r := range runtimes {
			row[i] = r.try(ctx, o.suite, p)
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
		t.add(os.Stdout, p, row)
	}
	t.total(os.Stdout)
	return t.passed[0] == len(programs), nil
}

// list finds the programs of the suite.
func list(dir, only string) ([]string, error) {
	if only != "" {
		names := strings.Split(only, ",")
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
		return names, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && e.Name() != "runtimetest" {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, errors.New(dir + " has no programs")
	}
	return names, nil
}
