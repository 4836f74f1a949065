package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The cli package asks a regular expression for the names of a flag, several times each, at every start.

// names gives the names of a flag.
func names(f cli.Flag) (first string, others []string) {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return f.Name, f.Aliases
	case *cli.StringFlag:
		return f.Name, f.Aliases
	case *cli.StringSliceFlag:
		return f.Name, f.Aliases
	case *cli.GenericFlag:
		return f.Name, f.Aliases
	case *cli.IntFlag:
		return f.Name, f.Aliases
	}
	all := f.Names()
	return all[0], all[1:]
}

func named(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if first, others := names(f); first == name || slices.Contains(others, name) {
			return f
		}
	}
	return nil
}

// parse reads flags that go by their first names, and what follows them.
func parse(flags []cli.Flag, args []string) (*flag.FlagSet, error) {
	set := flag.NewFlagSet("karapace", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		if err := declare(set, f, args); err != nil {
			return nil, err
		}
	}
	if err := set.Parse(args); err != nil {
		return nil, badValue(set, args, err)
	}
	return set, nil
}

// badValue says which flag cannot have its value, where that is why args cannot be read, as the person writes it.
func badValue(set *flag.FlagSet, args []string, err error) error {
	for _, a := range args {
		name, value, joined := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		f := set.Lookup(name)
		if f == nil || !joined || f.Value.Set(value) == nil {
			continue
		}
		what := "another value"
		if typed, ok := f.Value.(flag.Getter); ok {
			switch typed.Get().(type) {
			case int:
				what = "a whole number"
			case bool:
				what = "true or false"
			}
		}
		return fmt.Errorf("flag --%s takes %s, not %q", name, what, value)
	}
	return err
}

func declare(set *flag.FlagSet, f cli.Flag, args []string) error {
	switch f := f.(type) {
	case *cli.BoolFlag:
		set.Bool(f.Name, f.Value, "")
		return nil
	case *cli.StringFlag:
		value := f.Value
		for _, name := range f.EnvVars {
			if v, ok := os.LookupEnv(name); ok {
				value = v
				break
			}
		}
		set.String(f.Name, value, "")
		return nil
	case *cli.StringSliceFlag:
		given := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--"+f.Name+"=") })
		if !given && len(f.EnvVars) == 0 {
			return nil
		}
	case *cli.GenericFlag:
		set.Var(f.Value, f.Name, "")
		return nil
	}
	return f.Apply(set)
}

// texts are the values of a flag that may be given more than once, as they are.
type texts []string

// Set implements cli.Generic.
func (t *texts) Set(value string) error {
	*t = append(*t, value)
	return nil
}

// String implements cli.Generic.
func (t *texts) String() string { return strings.Join(*t, " ") }
