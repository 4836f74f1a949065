package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of the first guide work as they stand there, one after the other, in an empty home.
func TestGettingStarted(t *testing.T) {
	if followed() {
		t.Skip("the user who follows does")
	}
	if testing.Short() {
		t.Skip("installs packages of a distribution")
	}
	text, err := os.ReadFile("../../docs/getting-started.md")
	must(t, err)
	script := []string{"set -e"}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch command, typed := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside && typed:
			script = append(script, "echo '+ '"+shellQuoted("sh", command), command)
		case inside:
			t.Errorf("%q is no command", line)
		}
	}
	if len(script) < 40 {
		t.Fatalf("only %d commands were found", len(script)/2)
	}
	home := t.TempDir()
	store := filepath.Join(home, ".local/share/karapace")
	t.Cleanup(func() { destroyStore(store) })
	must(t, copyFiles(filepath.Join(cacheDir(), "vault"), filepath.Join(store, "vault/sha256"))) // what was fetched by an earlier run
	must(t, os.Chmod(store, 0o700))
	cmd := exec.Command("sh", "-c", strings.Join(script, "\n"))
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + binaries + ":" + os.Getenv("PATH"), "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"/bin/sh: symbolic link", "/etc/motd", "a motd, and no wc", "wc (GNU coreutils)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}
