package builder

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage/fstree"
)

// unpackBundle makes the root file system of a bundle of the tar that another karapace-store writes. This one may run in
// another user namespace, where files get the owners that the bundle wants. Directories get the newest time of the rest.
func unpackBundle(ctx context.Context) error {
	dir := fmt.Sprintf("/proc/self/fd/%d", wire.OutputFD)
	u, err := fstree.Unpack(ctx, dir, os.NewFile(wire.InputFD, "input"), fstree.UnpackOptions{Limits: own})
	if err == nil {
		err = fstree.Normalise(ctx, dir, fstree.NormaliseOptions{Epoch: u.Newest, Unpacked: true})
	}
	if err == nil {
		err = syncFS(dir)
	}
	return outputFailure(err)
}

// own are the limits of what comes out of the store: what went in by several layers may be more than one may have.
var own = fstree.Limits{Entries: 1 << 40, Bytes: 1 << 50}

// clearOutput empties a directory that is given up.
func clearOutput() error {
	dir := fmt.Sprintf("/proc/self/fd/%d/", wire.OutputFD)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, fstree.RemoveAll(dir+e.Name()))
	}
	return failure.New(failure.General, err, "")
}

func readerGone(err error) bool { return errors.Is(err, unix.EPIPE) }
