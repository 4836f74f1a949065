// This program waits more than it computes. It need not ask at every start how much of the processors its control group may
// use, which costs as much as reading the record of an environment.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

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
