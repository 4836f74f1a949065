// Command benchmarks measures Karapace against floors and peers, in one run.
//
// A contender is a command line whose run is timed, from fork to wait, by the monotonic clock. A group is a set of
// contenders that take turns: one run of each per round, every round beginning with the next one, so that whatever else
// the machine does meets all of them. A floor is the least that a thing can cost, a program that does only what the
// kernel demands; a peer is another program that does the same work. A row compares the median of one contender with
// that of another, or a peak of memory with a bound, and prints what it may be at most and where it is going.
//
// A benchmark is not a test: a row above its bound is printed as such and fails nothing, and a contender that cannot run
// is listed as missing, with the reason. The exit code is 1 only when nothing could be measured at all.
//
// Everything happens in one directory, which is empty again at the end. hack/bench prepares it and calls this program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

type options struct {
	bin, floor, hello, work string
	rounds                  int
	only                    string
	json                    bool
}

// importRounds is how often the long contenders run at most.
const importRounds = 5

func main() {
	if done, err := runMode(context.Background(), os.Args[1:]); done || err != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	o := options{}
	flag.StringVar(&o.bin, "bin", "", "directory of karapace and karapace-store")
	flag.StringVar(&o.floor, "floor", "", "the C floor")
	flag.StringVar(&o.hello, "hello", "", "the Go floor")
	flag.StringVar(&o.work, "work", "", "an empty directory to work in")
	flag.IntVar(&o.rounds, "rounds", 40, "rounds of the short contenders; the imports run 5 times at most")
	flag.StringVar(&o.only, "only", "", "only the rows whose name contains this")
	flag.BoolVar(&o.json, "json", false, "print one JSON document, with every sample")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.bin == "" || o.floor == "" || o.hello == "" || o.work == "" {
		fmt.Fprintln(os.Stderr, "usage: hack/bench [-rounds N] [-only TEXT] [-json]")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runMode does what this program starts itself for, in the user's namespace.
func runMode(ctx context.Context, args []string) (done bool, err error) {
	switch {
	case len(args) == 2 && args[0] == captureMode:
		return true, capture(ctx, args[1])
	case len(args) == 4 && args[0] == multiplyMode:
		n, err := strconv.Atoi(args[3])
		if err != nil {
			return true, err
		}
		return true, multiply(ctx, args[1], args[2], n)
	}
	return false, nil
}

func run(ctx context.Context, o options) error {
	l, err := newLab(o)
	if err != nil {
		return err
	}
	defer l.close()
	l.facts = l.machine(ctx)
	rep := &report{Machine: l.facts}
	for _, g := range []struct {
		rows  []row
		setup func(context.Context, *lab) *group
	}{
		{programRows, programs},
		{startRows, starts},
		{desktopRows, desktops},
		{joinRows, joins},
		{importRows, imports},
		{captureRows, captures},
		{diffRows, diffs},
		{lifeRows, life},
		{crowdRows, crowds},
		{installRows, installs},
		{fetchRows, fetches},
		{registryRows, registries},
	} {
		rows := wanted(g.rows, o.only)
		if len(rows) == 0 {
			continue
		}
		group := g.setup(ctx, l)
		group.keepOnly(rows)
		l.progress("measuring: " + group.name)
		group.run(ctx, l)
		group.close()
		rep.add(group, rows)
		if ctx.Err() != nil {
			break
		}
	}
	if len(rep.Contenders) == 0 {
		return errors.Join(errors.New("nothing was measured"), ctx.Err())
	}
	return rep.print(os.Stdout, o.json)
}

// wanted are the rows whose name contains text.
func wanted(rows []row, text string) []row {
	var some []row
	for _, r := range rows {
		if strings.Contains(r.name(), text) {
			some = append(some, r)
		}
	}
	return some
}
