package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// aside is where layers are made that are only compared: they share the vault with the store and enter nothing else.
type aside struct {
	scratch *storage.Scratch
	odd     circumstances
	mounted bool // scratch is a tmpfs
}

// newAside makes an empty one; the caller ends it.
func (w *worker) newAside() (*aside, error) {
	scratch, err := w.store.Scratch("aside")
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	return &aside{scratch: scratch}, nil
}

// end removes all that was made.
func (a *aside) end(w *worker) {
	if a.mounted {
		unix.Unmount(a.scratch.Dir, unix.MNT_DETACH)
	}
	w.drop(a.scratch)
}

// inMemory puts what is made into a tmpfs of at most size bytes, which lists directories in another order than file
// systems on disks. It reports whether that is possible here.
func (a *aside) inMemory(size int64) bool {
	dir := a.scratch.Dir
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, fmt.Sprintf("mode=755,size=%d", size)); err != nil {
		return false
	}
	a.mounted = true
	if err := unix.Setxattr(dir, "user.karapace", nil, 0); err != nil { // before Linux 6.6, which overlays need
		unix.Unmount(dir, unix.MNT_DETACH)
		a.mounted = false
	}
	return a.mounted
}

// keep gives a normalised tree its digest and its place.
func (a *aside) keep(ctx context.Context, dir string) (layer, error) {
	id, size, err := fstree.Digest(ctx, dir)
	if err != nil {
		return layer{}, failure.New(failure.Store, err, "")
	}
	to := filepath.Join(a.scratch.Dir, id.Encoded())
	if err := os.Rename(dir, to); err != nil {
		return layer{}, failure.New(failure.Store, fmt.Errorf("keep layer: %w", err), "")
	}
	return layer{ID: id, Dir: to, Link: to, Size: size}, nil
}

// scratch makes a directory to build in; where the build is aside, within that.
func (b *build) scratch(kind string) (*storage.Scratch, error) {
	if b.aside == nil {
		return b.store.Scratch(kind)
	}
	dir, err := os.MkdirTemp(b.aside.scratch.Dir, kind+"-")
	if err != nil {
		return nil, fmt.Errorf("make scratch directory: %w", err)
	}
	return &storage.Scratch{Dir: dir}, nil
}

// again is the same build from the beginning, made in a.
func (b *build) again(a *aside) *build {
	c := *b
	c.base, c.packages, c.aside = layer{}, layer{}, a
	return &c
}
