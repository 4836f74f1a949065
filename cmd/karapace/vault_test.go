package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/cmd/internal/surroundings"
)

// loadvault fills the script's vault with the package files of earlier runs, so that mirrors are asked for each but once.
func loadVault(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(copyFiles(filepath.Join(cacheDir(), "vault"), filepath.Join(ts.Getenv("KARAPACE_STORE"), "vault", "sha256")))
	ts.Check(os.MkdirAll(ts.Getenv("KARAPACE_STORE"), 0o700))
}

// savevault keeps the package files of this run for later ones.
func saveVault(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(copyFiles(filepath.Join(ts.Getenv("KARAPACE_STORE"), "vault", "sha256"), filepath.Join(cacheDir(), "vault")))
}

// flipvault PACKAGE changes one byte of the package's file in the vault.
func flipVault(ts *testscript.TestScript, neg bool, args []string) {
	lock := ts.ReadFile("project/quickstart.lock")
	m := regexp.MustCompile(`name = "` + args[0] + `",.* sha256 = "([0-9a-f]{64})"`).FindStringSubmatch(lock)
	if m == nil {
		ts.Fatalf("no package %s in the lock", args[0])
	}
	path := filepath.Join(ts.Getenv("KARAPACE_STORE"), "vault", "sha256", m[1])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Remove(path)) // it may belong to a subordinate id; the directory does not
	ts.Check(os.WriteFile(path, b, 0o644))
}

// copyFiles copies the files of one directory that another lacks.
func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil { // the user's, also where there is nothing to copy yet
		return err
	}
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() { // what was found damaged
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("copy %s: %w", e.Name(), err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, src)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}

// nohost ENV looks for this host in every file of the environment's layers: its name, the user's, paths of this run.
func noHost(ts *testscript.TestScript, neg bool, args []string) {
	needles := []string{ts.Getenv("WORK")}
	host, err := os.Hostname()
	ts.Check(err)
	for _, n := range []string{host, surroundings.User().Name} {
		if len(n) > 4 && n != "localhost" { // short ones occur by chance
			needles = append(needles, n)
		}
	}
	cmd := []string{"exec", args[0], "-u", "0", "--", "grep", "-rslF"}
	for _, n := range needles {
		cmd = append(cmd, "-e", n)
	}
	ts.Exec("karapace", append(cmd, "/etc", "/opt", "/root", "/srv", "/usr", "/var")...)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		switch strings.TrimSpace(line) {
		case "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf": // of the session, in no layer
		default:
			ts.Fatalf("one of %q stands in %s", needles, line)
		}
	}
}
