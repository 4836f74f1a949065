// Package images brings the trees of base systems: out of archives and OCI images on this machine, or assembled from a
// distribution's own archive.
//
// Whatever comes from outside is hostile until checked: documents are bounded and read from regular files only, every
// blob is verified by digest and size while it is read, and unpacking is package fstree's. What an image says about
// itself decides nothing about isolation; only its environment variables are taken over, and only well-formed ones.
package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree"
)

// Source is a base system on this machine that has not been unpacked.
type Source interface {
	// Digest reads what pins the base: the whole file of an archive; of an OCI layout directory, what its index.json
	// names, or index.json itself when that names several.
	Digest(ctx context.Context) (digest.Digest, error)
	// Unpack fills the empty directory root with the tree for arch, a GOARCH name. After an error root holds a part.
	Unpack(ctx context.Context, root, arch string) (*Base, error)
}

// Base is what was unpacked.
type Base struct {
	Digest digest.Digest // as Source.Digest, of the bytes that were read
	Newest int64         // latest modification time in it, seconds since the epoch
	Env    []string      // variables the image sets
}

// Open tells what is at path by its content: a root file system archive or squashfs image, an OCI layout directory, or an archive of
// either an OCI layout or what docker save writes. A missing path gives fs.ErrNotExist.
func Open(path string) (Source, error) {
	f, err := openRegularOrDir(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openDir(path)
	}
	if squashed, err := isSquashfs(f); err != nil || squashed {
		return &squash{path: path}, err
	}
	files, err := indexTar(f)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", path, err)
	}
	switch {
	case files.has("oci-layout"):
		return &packed{path: path, oci: true}, nil
	case files.has(dockerManifest):
		return &packed{path: path}, nil
	default:
		return &archive{path: path}, nil
	}
}

// openDir takes a directory for an OCI layout. Trees of files are not taken: what they hold has no digest, and the ids in
// them mean nothing without knowing for whom they were made.
func openDir(path string) (Source, error) {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case has("oci-layout"):
		return &layout{path: path}, nil
	case has("config.json") && has("rootfs"):
		return nil, fmt.Errorf("base image %s: the directory is an OCI bundle, no OCI layout: its files must be packed first, as root or in the user namespace they were made for (tar --numeric-owner -C %s/rootfs -cf base.tar .)", path, path)
	}
	return nil, fmt.Errorf("base image %s: the directory is no OCI layout: it has no oci-layout file; a tree of files must be packed first (tar -C %s -cf base.tar .)", path, path)
}

// openRegularOrDir does not block on a pipe nor read from a device.
func openRegularOrDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("%s is neither a file nor a directory", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// archive is a root file system archive.
type archive struct{ path string }

func (a *archive) Digest(ctx context.Context) (digest.Digest, error) { return fileDigest(ctx, a.path) }

func fileDigest(ctx context.Context, path string) (digest.Digest, error) {
	f, err := openRegularOrDir(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d, err := digest.FromReader(contextReader{ctx, f})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return d, nil
}

// contextReader ends a long read when the context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (a *archive) Unpack(ctx context.Context, root, arch string) (*Base, error) {
	f, err := openRegularOrDir(a.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := fstree.Unpack(ctx, root, f, fstree.UnpackOptions{})
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.path, err)
	}
	if holdsImage(root) {
		b, err := unpackUnpacked(ctx, root, arch)
		if err != nil {
			return nil, fmt.Errorf("image archive %s: %w", a.path, err)
		}
		b.Digest = u.Digest
		return b, nil
	}
	if err := settleRoot(root); err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.path, err)
	}
	return &Base{Digest: u.Digest, Newest: u.Newest}, nil
}

// settleRoot makes sure that root holds a system. One that lies in a directory of its own is moved up, if nothing lies
// beside it.
func settleRoot(root string) error {
	if isSystem(root) {
		return nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	if len(entries) == 1 && entries[0].IsDir() && isSystem(filepath.Join(root, entries[0].Name())) {
		return moveUp(root, entries[0].Name())
	}
	return noSystem(entries)
}

// isSystem tells whether dir looks like the root of a system. Links are not followed.
func isSystem(dir string) bool {
	is := func(name string, modes ...os.FileMode) bool {
		info, err := os.Lstat(filepath.Join(dir, name))
		return err == nil && slices.Contains(modes, info.Mode().Type())
	}
	return is("etc", os.ModeDir) && (is("usr", os.ModeDir) || is("bin", os.ModeDir, os.ModeSymlink))
}

// moveUp replaces root's only directory by what is in it.
func moveUp(root, name string) error {
	const aside = ".karapace-top" // nothing in it can have the place of its own directory
	top := filepath.Join(root, aside)
	if err := os.Rename(filepath.Join(root, name), top); err != nil {
		return err
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(top, e.Name()), filepath.Join(root, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(top)
}

func noSystem(entries []os.DirEntry) error {
	if len(entries) == 0 {
		return errors.New("it holds nothing")
	}
	var names []string
	for _, e := range entries {
		if len(names) < 5 {
			names = append(names, fmt.Sprintf("%q", e.Name()))
		}
	}
	if len(entries) > len(names) {
		names = append(names, "...")
	}
	return fmt.Errorf("it holds no root file system, which has etc, and usr or bin, at its top or in the only directory there; at its top are %s", strings.Join(names, ", "))
}
