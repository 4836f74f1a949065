// Command karapace-store works on layers for karapace, which starts it inside the user namespace with a request on its
// standard input; it is not for starting by hand. See package wire for what the two say to each other.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/karapace/karapace/cmd/internal/builder"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	syscall.Umask(0o022)
	if err := builder.Serve(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "karapace-store: %v\n", err)
		os.Exit(1)
	}
}
