package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/lifecycle"
)

func (a *app) state(_ context.Context, args []string) (int, error) {
	id, err := oneID(flags("state"), args)
	if err != nil {
		return 0, err
	}
	info, err := a.store.State(id)
	if err != nil {
		return 0, err
	}
	return 0, a.printJSON(info)
}

func (a *app) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(a.out, "%s\n", text)
	}
	return err
}

func (a *app) list(_ context.Context, args []string) (int, error) {
	f := flags("list")
	format, quiet := formatFlags(f)
	if err := parse(f, args); err != nil {
		return 0, err
	}
	list, err := a.store.List()
	if err != nil {
		return 0, err
	}
	switch {
	case *quiet:
		for _, c := range list {
			fmt.Fprintln(a.out, c.ID)
		}
		return 0, nil
	case *format == "json":
		if list == nil {
			list = []*lifecycle.Info{}
		}
		return 0, a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", c.ID, c.Pid, c.Status, strconv.Quote(c.Bundle), c.Created)
	}
	return 0, w.Flush()
}

func (a *app) ps(_ context.Context, args []string) (int, error) {
	f := flags("ps")
	format, _ := formatFlags(f)
	if err := parse(f, args); err != nil {
		return 0, err
	}
	if f.NArg() == 0 {
		return 0, usageError{"usage: karapace-runtime ps " + commands()["ps"].usage}
	}
	pids, err := a.store.Pids(f.Arg(0))
	if err != nil {
		return 0, err
	}
	if *format == "json" {
		return 0, a.printJSON(pids)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tCOMMAND")
	for _, pid := range pids {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err == nil {
			fmt.Fprintf(w, "%d\t%s\n", pid, strconv.Quote(strings.TrimSpace(string(name))))
		}
	}
	return 0, w.Flush()
}

func formatFlags(f interface {
	String(name, value, usage string) *string
	StringVar(p *string, name, value, usage string)
	Bool(name string, value bool, usage string) *bool
	BoolVar(p *bool, name string, value bool, usage string)
}) (format *string, quiet *bool) {
	format = f.String("format", "table", "")
	f.StringVar(format, "f", "table", "")
	quiet = f.Bool("quiet", false, "")
	f.BoolVar(quiet, "q", false, "")
	return format, quiet
}

func (a *app) features(_ context.Context, args []string) (int, error) {
	if err := parse(flags("features"), args); err != nil {
		return 0, err
	}
	return 0, a.printJSON(lifecycle.Features())
}

// parseSignal reads a signal's number or name.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	const first, last = 34, 64 // those that C libraries leave to programs
	if rest, ok := strings.CutPrefix(name, "RTMIN"); ok {
		if n, err := strconv.Atoi("0" + strings.TrimPrefix(rest, "+")); err == nil && first+n <= last {
			return unix.Signal(first + n), nil
		}
	}
	if rest, ok := strings.CutPrefix(name, "RTMAX"); ok {
		if n, err := strconv.Atoi("0" + strings.TrimPrefix(rest, "-")); err == nil && last-n >= first {
			return unix.Signal(last - n), nil
		}
	}
	return 0, usageError{fmt.Sprintf("%q is no signal", text)}
}
