// Package surroundings gathers what the engine needs to know of the process it is in: the environment variables, the user, and
// where the programs, the store and the configuration are. The programs with an engine share it, so that all mean the same store.
package surroundings

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// Engine is an engine of this process's surroundings. program is the karapace binary, beside which karapace-store is; store is a
// directory, empty for the user's own; words are the command line so far as others may see it.
func Engine(program, store string, words []string) (*engine.Engine, error) {
	cwd, err := os.Getwd()
	if shell := os.Getenv("PWD"); errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(shell) { // removed; not every command needs it
		cwd, err = shell, nil
	}
	if err != nil {
		return nil, failure.New(failure.General, err, "go to a directory that exists")
	}
	who := User()
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(who.Home, ".config")
	}
	if store == "" {
		store = defaultStore(who)
	}
	if store, err = filepath.Abs(store); err != nil {
		return nil, failure.New(failure.General, err, "")
	}
	return &engine.Engine{
		StoreRoot:    store,
		Program:      program,
		StoreProgram: storeProgram(program),
		User:         who,
		Getenv:       os.Getenv,
		Cwd:          cwd,
		ConfigFile:   filepath.Join(config, "karapace", "config.toml"),
		AptDir:       "/etc/apt",
		CertDirs:     []string{filepath.Join(config, "containers", "certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"},
		BackendDirs:  filepath.SplitList(os.Getenv("KARAPACE_BACKEND_PATH")),
		Words:        words,
		Overlay:      os.Getenv("KARAPACE_OVERLAY"),
	}, nil
}

// Program is the karapace binary beside this one, or in PATH.
func Program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), "karapace")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	path, err := exec.LookPath("karapace")
	if err != nil {
		return "", fmt.Errorf("karapace is neither in %s nor in PATH: install it there", filepath.Dir(self))
	}
	return filepath.Abs(path)
}

// User is who runs this process.
func User() engine.User {
	who := engine.User{UID: os.Getuid(), GID: os.Getgid(), Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL"), Name: os.Getenv("USER"), Umask: 0o022}
	if name, home := userns.Account(uint32(who.UID)); name != "" {
		who.Name = name
		who.Home = cmp.Or(who.Home, home)
	}
	if who.Home == "" {
		who.Home = "/"
	}
	return who
}

// Umask is this process's. It can only be asked for by setting another for a moment: for programs that do nothing else yet.
func Umask() uint32 {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return uint32(mask)
}

func defaultStore(who engine.User) string {
	if who.UID == 0 {
		return "/var/lib/karapace"
	}
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(who.Home, ".local", "share")
	}
	return filepath.Join(data, "karapace")
}

// storeProgram is karapace-store beside this program, or in ../libexec.
func storeProgram(program string) string {
	beside := filepath.Join(filepath.Dir(program), "karapace-store")
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	return filepath.Join(filepath.Dir(program), "..", "libexec", "karapace-store")
}
