package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends/lifecycle"
)

// execFlags describe a process by options.
type execFlags struct {
	file, user, cwd, apparmor, selinux string
	tty, noNewPrivs                    bool
	env, caps, gids                    list
}

// list is an option that may be there many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func (a *app) exec(ctx context.Context, args []string) (int, error) {
	var e execFlags
	var o lifecycle.ExecOptions
	f := flags("exec")
	for _, name := range [...][2]string{{"process", "p"}, {"user", "u"}} {
		target := map[string]*string{"process": &e.file, "user": &e.user}[name[0]]
		f.StringVar(target, name[0], "", "")
		f.StringVar(target, name[1], "", "")
	}
	f.StringVar(&e.cwd, "cwd", "", "")
	f.StringVar(&e.apparmor, "apparmor", "", "")
	f.StringVar(&e.selinux, "process-label", "", "")
	f.BoolVar(&e.tty, "tty", false, "")
	f.BoolVar(&e.tty, "t", false, "")
	f.BoolVar(&e.noNewPrivs, "no-new-privs", false, "")
	f.Var(&e.env, "env", "")
	f.Var(&e.env, "e", "")
	f.Var(&e.caps, "cap", "")
	f.Var(&e.caps, "c", "")
	f.Var(&e.gids, "additional-gids", "")
	f.Var(&e.gids, "g", "")
	f.StringVar(&o.PidFile, "pid-file", "", "")
	f.StringVar(&o.Console, "console-socket", "", "")
	f.IntVar(&o.PreserveFDs, "preserve-fds", 0, "")
	f.BoolVar(&o.KeepKeyring, "no-new-keyring", false, "")
	f.BoolVar(&o.Detach, "detach", false, "")
	f.BoolVar(&o.Detach, "d", false, "")
	if err := parse(f, args); err != nil {
		return 0, err
	}
	if f.NArg() == 0 || o.PreserveFDs < 0 || (e.file == "") == (f.NArg() == 1) {
		return 0, usageError{"usage: karapace-runtime exec " + commands()["exec"].usage + "\nthe command is either in the file or on the command line"}
	}
	o.Process = func(p *rspec.Process) error { return e.apply(p, f.Args()[1:]) }
	o.Stdio = stdio()
	exit, err := a.store.Exec(ctx, f.Arg(0), o)
	return exit.ShellCode(), err
}

// maxProcess is the size of the largest process file, in bytes.
const maxProcess = 1 << 20

// apply makes the document's process the one that is asked for.
func (e *execFlags) apply(p *rspec.Process, args []string) error {
	if e.file != "" {
		return readProcess(e.file, p)
	}
	p.Args, p.Terminal = args, e.tty
	p.Env = append(p.Env, e.env...)
	p.NoNewPrivileges = p.NoNewPrivileges || e.noNewPrivs
	if e.cwd != "" {
		p.Cwd = e.cwd
	}
	if e.apparmor != "" {
		p.ApparmorProfile = e.apparmor
	}
	if e.selinux != "" {
		p.SelinuxLabel = e.selinux
	}
	if len(e.caps) > 0 {
		if p.Capabilities == nil {
			p.Capabilities = new(rspec.LinuxCapabilities)
		}
		c := p.Capabilities
		for _, set := range [...]*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
			*set = append(*set, e.caps...)
		}
	}
	for _, g := range e.gids {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return usageError{fmt.Sprintf("%q is no group id", g)}
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(n))
	}
	return e.setUser(p)
}

func (e *execFlags) setUser(p *rspec.Process) error {
	if e.user == "" {
		return nil
	}
	uid, gid, both := strings.Cut(e.user, ":")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err == nil {
		p.User.UID = uint32(n)
	}
	if err == nil && both {
		n, err = strconv.ParseUint(gid, 10, 32)
		p.User.GID = uint32(n)
	}
	if err != nil {
		return usageError{fmt.Sprintf("%q is not UID or UID:GID", e.user)}
	}
	return nil
}

func readProcess(file string, p *rspec.Process) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProcess+1))
	if err != nil {
		return err
	}
	if len(data) > maxProcess {
		return errors.New(file + " is too large for a process")
	}
	*p = rspec.Process{}
	if err := json.Unmarshal(data, p); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}
