// Package testground is what the tests of several programs share: the programs themselves, and a root file system that builds in a
// moment.
package testground

import (
	"fmt"
	"os"
	"os/exec"
)

// Programs takes the binaries from the directory KARAPACE_BIN, or builds them. The caller calls done in the end.
func Programs() (dir string, done func(), err error) {
	if dir := os.Getenv("KARAPACE_BIN"); dir != "" {
		return dir, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "karapace-bin-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	const at = "github.com/karapace/karapace/cmd/"
	build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", dir, at+"karapace", at+"karapace-store", at+"karapace-runtime", at+"karapace-tui", at+"karapace-dbus")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		done()
		return "", nil, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, done, os.Chmod(dir, 0o755)
}
