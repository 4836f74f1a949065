// Command karapace gives development environments that are certain: see README.md and docs/cli.md.
package main

import (
	"context"
	"os"

	"github.com/karapace/karapace/cmd/internal/probe"
)

// version is set by the linker from the tag.
var version = "0.0.0-dev"

func main() {
	if probe.Called(os.Args) {
		os.Exit(probe.Main(os.Args))
	}
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
