package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/lifecycle"
)

// oneID reads a command's options and the one argument it has.
func oneID(f *flag.FlagSet, args []string) (string, error) {
	if err := parse(f, args); err != nil {
		return "", err
	}
	if f.NArg() != 1 {
		return "", usageError{fmt.Sprintf("usage: karapace-runtime %s %s", f.Name(), commands()[f.Name()].usage)}
	}
	return f.Arg(0), nil
}

func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return usageError{fmt.Sprintf("%v\nusage: karapace-runtime %s %s", err, f.Name(), commands()[f.Name()].usage)}
	}
	return nil
}

// bundleFlags are those of create and run.
func bundleFlags(f *flag.FlagSet) (o *lifecycle.CreateOptions, check func() error) {
	o = new(lifecycle.CreateOptions)
	for _, name := range [...]string{"bundle", "b"} {
		f.StringVar(&o.Bundle, name, "", "")
	}
	f.StringVar(&o.PidFile, "pid-file", "", "")
	f.StringVar(&o.Console, "console-socket", "", "")
	f.IntVar(&o.PreserveFDs, "preserve-fds", 0, "")
	f.BoolVar(&o.KeepKeyring, "no-new-keyring", false, "")
	noPivot := f.Bool("no-pivot", false, "")
	return o, func() error {
		switch {
		case *noPivot:
			return usageError{"--no-pivot is not supported: the root file system is always pivoted into"}
		case o.PreserveFDs < 0:
			return usageError{"--preserve-fds is a number of descriptors"}
		}
		return nil
	}
}

func (a *app) create(ctx context.Context, args []string) (int, error) {
	f := flags("create")
	o, check := bundleFlags(f)
	id, err := oneID(f, args)
	if err == nil {
		err = check()
	}
	if err == nil {
		_, err = a.store.Create(ctx, id, *o)
	}
	return 0, err
}

func (a *app) start(ctx context.Context, args []string) (int, error) {
	id, err := oneID(flags("start"), args)
	if err == nil {
		err = a.store.Start(ctx, id)
	}
	return 0, err
}

func (a *app) runContainer(ctx context.Context, args []string) (int, error) {
	f := flags("run")
	o, check := bundleFlags(f)
	var detach, keep bool
	f.BoolVar(&detach, "detach", false, "")
	f.BoolVar(&detach, "d", false, "")
	f.BoolVar(&keep, "keep", false, "")
	id, err := oneID(f, args)
	if err == nil {
		err = check()
	}
	if err != nil {
		return 0, err
	}
	return a.store.Run(ctx, id, lifecycle.RunOptions{CreateOptions: *o, Detach: detach, Keep: keep, Stdio: stdio()})
}

func stdio() backends.Stdio { return backends.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

func (a *app) kill(_ context.Context, args []string) (int, error) {
	f := flags("kill")
	all := f.Bool("all", false, "")
	f.BoolVar(all, "a", false, "")
	if err := parse(f, args); err != nil {
		return 0, err
	}
	name := "TERM"
	switch f.NArg() {
	case 1:
	case 2:
		name = f.Arg(1)
	default:
		return 0, usageError{"usage: karapace-runtime kill " + commands()["kill"].usage}
	}
	sig, err := parseSignal(name)
	if err != nil {
		return 0, err
	}
	return 0, a.store.Kill(f.Arg(0), sig, *all)
}

func (a *app) delete(ctx context.Context, args []string) (int, error) {
	f := flags("delete")
	force := f.Bool("force", false, "")
	f.BoolVar(force, "f", false, "")
	id, err := oneID(f, args)
	if err == nil {
		err = a.store.Delete(ctx, id, *force)
	}
	return 0, err
}
