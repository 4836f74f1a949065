// karapace-server is an OCI registry for a team or a laptop.
//
// Commands: serve (the default), gc, passwd. Exit codes: 0 success, 1 failure, 64 usage or configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

var version = "0.0.0-dev" // set by the linker

const (
	exitFailure = 1
	exitUsage   = 64
)

// usageError is the user's.
type usageError struct{ error }

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	err := app().RunContext(context.Background(), args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "karapace-server:", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func app() *cli.App {
	run := func(c *cli.Context) error {
		if c.Args().Present() {
			return usageError{fmt.Errorf("unknown command %q; --help has the list", c.Args().First())}
		}
		cfg, err := configuration(c)
		if err != nil {
			return err
		}
		return serve(c.Context, cfg, os.Stderr)
	}
	bad := func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
	a := &cli.App{
		Name: "karapace-server", Usage: "an OCI registry for a team or a laptop", Version: version,
		Flags: flags(), Action: run, OnUsageError: bad, HideHelpCommand: true,
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{
			{Name: "serve", Usage: "serve until told to stop (what happens without a command)", Flags: flags(), Action: run},
			gcCommand(),
			{Name: "passwd", Usage: "set a user's password, read from standard input, in a file of users", ArgsUsage: "FILE USER", Action: passwdCommand},
		},
	}
	for _, c := range a.Commands {
		c.OnUsageError = bad
	}
	return a
}

// flags are all settings, and where the configuration file is.
func flags() []cli.Flag {
	list := []cli.Flag{&cli.StringFlag{Name: "config", Usage: "configuration `FILE` (TOML)", EnvVars: []string{"KARAPACE_SERVER_CONFIG"}}}
	var c config.Config
	for _, s := range c.Settings() {
		if s.Bool() {
			list = append(list, &cli.BoolFlag{Name: s.Flag(), Usage: s.Usage, EnvVars: []string{s.Env()}})
		} else {
			list = append(list, &cli.StringFlag{Name: s.Flag(), Usage: s.Usage, EnvVars: []string{s.Env()}})
		}
	}
	return list
}

// configuration puts the file, the environment and the flags together.
func configuration(c *cli.Context) (config.Config, error) {
	cfg := config.Default()
	if path, ok := given(c, "config", "KARAPACE_SERVER_CONFIG"); ok {
		if err := cfg.Read(path); err != nil {
			return cfg, usageError{err}
		}
	}
	for _, s := range cfg.Settings() {
		value, ok := given(c, s.Flag(), s.Env())
		if !ok {
			continue
		}
		if err := s.Set(value); err != nil {
			return cfg, usageError{err}
		}
	}
	if err := cfg.Check(); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// given is the value of a flag, before or after the command's name, or of the environment.
func given(c *cli.Context, flag, env string) (string, bool) {
	for _, at := range c.Lineage() {
		if slices.Contains(at.LocalFlagNames(), flag) {
			return fmt.Sprint(at.Value(flag)), true
		}
	}
	return os.LookupEnv(env)
}
