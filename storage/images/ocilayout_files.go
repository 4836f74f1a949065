package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree"
)

// files is where the files of an image lie: a directory, or an archive. A missing one gives fs.ErrNotExist.
type files interface {
	open(name string) (*blob, error)
}

// blob is an open regular file of an image.
type blob struct {
	io.Reader
	size  int64
	close func() error
}

// dirFiles is a directory.
type dirFiles string

// open opens a regular file below the directory; no link leads out of it.
func (d dirFiles) open(name string) (*blob, error) {
	dir, err := unix.Open(string(d), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: string(d), Err: err}
	}
	defer unix.Close(dir)
	fd, err := fstree.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return regular(fd, name)
}

// regular is the blob that an open file is; what is no regular file is closed.
func regular(fd int, name string) (*blob, error) {
	f := os.NewFile(uintptr(fd), name)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &blob{f, info.Size(), f.Close}, nil
}

// readAll reads a small file.
func readAll(from files, name string, limit int64) ([]byte, error) {
	b, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.size > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	data := make([]byte, b.size)
	if _, err := io.ReadFull(b, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// openBlob opens what a descriptor names and checks the size it has on disk.
func openBlob(from files, d ispec.Descriptor) (*blob, error) {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 && d.Digest.Algorithm() != digest.SHA512 {
		return nil, fmt.Errorf("digest %.100q is not a sha256 or sha512", d.Digest)
	}
	name := "blobs/" + d.Digest.Algorithm().String() + "/" + d.Digest.Encoded()
	b, err := from.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is missing", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	if b.size != d.Size {
		b.close()
		return nil, fmt.Errorf("blob %s has %d bytes instead of %d", d.Digest, b.size, d.Size)
	}
	return b, nil
}

// readBlob reads a document and verifies it.
func readBlob(from files, d ispec.Descriptor) ([]byte, error) {
	if d.Size > documentLimit {
		return nil, fmt.Errorf("document %s is larger than %d bytes", d.Digest, documentLimit)
	}
	b, err := openBlob(from, d)
	if err != nil {
		return nil, err
	}
	defer b.close()
	data := make([]byte, b.size)
	if _, err := io.ReadFull(b, data); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if got := d.Digest.Algorithm().FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("blob %s has the digest %s", d.Digest, got)
	}
	return data, nil
}

func decodeConfig(b []byte, config *ispec.Image) error {
	if err := json.Unmarshal(b, config); err != nil {
		return err
	}
	if config.RootFS.Type != "layers" {
		return fmt.Errorf("the root file system is of the unknown type %.40q", config.RootFS.Type)
	}
	return nil
}
