package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/surroundings"
)

// program is one run of the command line.
type program struct {
	ctx                   context.Context
	stdin, stdout, stderr *os.File
	line                  *commandLine
	engine                *engine.Engine
	json, quiet, verbose  bool
}

// run is the whole program but for os.Exit.
func run(ctx context.Context, argv []string, stdin, stdout, stderr *os.File) int {
	p := &program{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr}
	app := p.app()
	err := p.start(app, argv)
	report(stderr, err, p.json)
	return exitCode(err)
}

func (p *program) start(app *cli.App, argv []string) error {
	p.json = wantsJSON(argv)
	line, err := p.arrange(app, argv)
	if err != nil {
		return usage(err)
	}
	p.line = line
	if line.command != nil && !line.help {
		return p.call(app)
	}
	app.Commands = p.commands()
	return app.RunContext(p.ctx, line.args())
}

// call does what cli.App.Run does for a command that the line names, without what it does for help and for other commands:
// that costs as much as entering an environment does outside the kernel.
func (p *program) call(app *cli.App) error {
	globals, err := parse(app.Flags, p.line.globals)
	if err != nil {
		return usage(err)
	}
	flags, err := parse(p.line.command.Flags, append(p.line.flags, p.line.arguments...))
	if err != nil {
		return usage(err)
	}
	root := cli.NewContext(app, globals, &cli.Context{Context: p.ctx})
	c := cli.NewContext(app, flags, root)
	c.Command = p.line.command
	for _, step := range []func(*cli.Context) error{p.before, p.takeImageServers, c.Command.Action} {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

// wantsJSON looks for --json before the command line is understood, so that errors in it are JSON too.
func wantsJSON(argv []string) bool {
	for _, a := range argv[1:] {
		if a == "--" {
			return false
		}
		if a == "--json" || a == "-json" {
			return true
		}
	}
	return false
}

func (p *program) app() *cli.App {
	return &cli.App{
		Name:            "karapace",
		Usage:           "development environments that are certain",
		Version:         version,
		Compiled:        time.Unix(0, 0), // else it is looked for on disk
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // the default would exit here and skip every defer
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return usage(err) },
		Before:          p.before,
		Action:          p.bare,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "directory of the store", EnvVars: []string{"KARAPACE_STORE"}, TakesFile: true},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "tell more"},
			&cli.BoolFlag{Name: "trace", Usage: "tell all (KARAPACE_LOG)"},
			&cli.BoolFlag{Name: "quiet", Usage: "tell results and errors only"},
			&cli.StringFlag{Name: "color", Usage: "auto, always or never", Value: "auto"},
			&cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true},
		},
	}
}

// commandEntry is a command that is made when it is called.
type commandEntry struct {
	name string
	make func(*program) *cli.Command
}

// commandTable has all commands.
func commandTable() []commandEntry {
	return []commandEntry{
		{"new", (*program).newCommand},
		{"lock", (*program).lockCommand},
		{"pin", (*program).pinCommand},
		{"build", (*program).buildCommand},
		{"rebuild", (*program).rebuildCommand},
		{"verify", (*program).verifyCommand},
		{"fetch", (*program).fetchCommand},
		{"quick", (*program).quickCommand},
		{"enter", (*program).enterCommand},
		{"exec", (*program).execCommand},
		{"run", (*program).runCommand},
		{"env-run", (*program).envRunCommand},
		{"stop", (*program).stopCommand},
		{"list", (*program).listCommand},
		{"inspect", (*program).inspectCommand},
		{"stats", (*program).statsCommand},
		{"sbom", (*program).sbomCommand},
		{"diff", (*program).diffCommand},
		{"adopt", (*program).adoptCommand},
		{"rename", (*program).renameCommand},
		{"destroy", (*program).destroyCommand},
		{"commit", (*program).commitCommand},
		{"snapshots", (*program).snapshotsCommand},
		{"restore", (*program).restoreCommand},
		{"freeze", (*program).freezeCommand},
		{"unfreeze", (*program).unfreezeCommand},
		{"archive", (*program).archiveCommand},
		{"unarchive", (*program).unarchiveCommand},
		{"export-app", (*program).exportAppCommand},
		{"unexport-app", (*program).unexportAppCommand},
		{"apps", (*program).appsCommand},
		{"hook", (*program).hookCommand},
		{"completions", (*program).completionsCommand},
		{"man-pages", (*program).manPagesCommand},
		{"import-distrobox", (*program).importDistroboxCommand},
		{"export", (*program).exportCommand},
		{"push", (*program).pushCommand},
		{"pull", (*program).pullCommand},
		{"images", (*program).imagesCommand},
		{"gc", (*program).gcCommand},
		{"verify-store", (*program).verifyStoreCommand},
		{"migrate", (*program).migrateCommand},
		{"backends", (*program).backendsCommand},
		{"compare", (*program).compareCommand},
		{"tui", (*program).tuiCommand},
		{"doctor", (*program).doctorCommand},
	}
}

// command makes the one that is called so, nil when there is none.
func (p *program) command(name string) *cli.Command {
	for _, e := range commandTable() {
		if e.name == name {
			return e.make(p)
		}
	}
	switch name {
	case "ls":
		return p.listCommand()
	case completeName:
		return p.completeCommand()
	}
	return nil
}

// working is for commands that work on the store: an interrupt ends their work instead of this program. It costs threads,
// which is why the others go without.
func (p *program) working(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		ctx, stop := signal.NotifyContext(p.ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		p.ctx = ctx
		err := action(c)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) { // whoever met it may have taken it for a failure of their own
			err = &failure.Error{Kind: failure.Interrupted, Err: err}
		}
		return err
	}
}

func usage(err error) error { return failure.New(failure.Usage, err, "") }

// bare is karapace without a command.
func (p *program) bare(c *cli.Context) error {
	if c.Bool("version") {
		_, err := p.stdout.WriteString("karapace " + version + "\n")
		return err
	}
	return cli.ShowAppHelp(c)
}

// before prepares what the commands need, from the global flags.
func (p *program) before(c *cli.Context) error {
	p.json, p.quiet, p.verbose = c.Bool("json"), c.Bool("quiet"), c.Bool("verbose") || c.Bool("trace") || os.Getenv("KARAPACE_LOG") != ""
	switch os.Getenv("KARAPACE_OVERLAY") {
	case "", "kernel", "fuse":
	default:
		return usage(errors.New("KARAPACE_OVERLAY is kernel or fuse"))
	}
	switch c.String("color") {
	case "auto", "always", "never":
	default:
		return usage(errors.New("--color is auto, always or never"))
	}
	if c.Bool("version") || p.line.command == nil {
		return nil
	}
	e, err := newEngine(c.String("store"))
	if err != nil {
		return err
	}
	e.Progress = p.progress()
	p.engine = e
	return nil
}

// newEngine gathers the surroundings; the engine itself reads none of them.
func newEngine(store string) (*engine.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, failure.New(failure.General, err, "")
	}
	e, err := surroundings.Engine(self, store, words(os.Args))
	if err == nil {
		e.User.Umask = surroundings.Umask()
	}
	return e, err
}

// words are the command line without the program and without what is to run inside.
func words(argv []string) []string {
	if i := slices.Index(argv, "--"); i >= 0 {
		argv = argv[:i]
	}
	return argv[min(1, len(argv)):]
}
