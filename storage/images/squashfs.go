package images

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/images/squashfs"
)

// squash is a root file system as a squashfs image.
type squash struct{ path string }

func isSquashfs(f *os.File) (bool, error) {
	magic := make([]byte, len(squashfs.Magic))
	n, err := f.ReadAt(magic, 0)
	if err == io.EOF {
		err = nil
	}
	return string(magic[:n]) == squashfs.Magic, err
}

func (s *squash) Digest(ctx context.Context) (digest.Digest, error) { return fileDigest(ctx, s.path) }

// Unpack turns the image into a tar on the way, so that there is one unpacker for what is hostile. The image is read
// here and there and not from start to end, so its digest is taken first.
func (s *squash) Unpack(ctx context.Context, root, _ string) (*Base, error) {
	f, err := openRegularOrDir(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sum, err := digest.FromReader(contextReader{ctx, io.NewSectionReader(f, 0, info.Size())})
	if err != nil {
		return nil, fmt.Errorf("squashfs %s: %w", s.path, err)
	}
	newest, err := unpackSquashfs(ctx, root, f, info.Size())
	if err == nil {
		err = settleRoot(root)
	}
	if err != nil {
		return nil, fmt.Errorf("squashfs %s: %w", s.path, err)
	}
	return &Base{Digest: sum, Newest: newest}, nil
}

func unpackSquashfs(ctx context.Context, root string, f io.ReaderAt, size int64) (newest int64, err error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := bufio.NewWriterSize(w, 256<<10) // a pipe hands every write over by itself, empty ones too
		err := squashfs.WriteTar(ctx, out, f, size)
		if err == nil {
			err = out.Flush()
		}
		w.CloseWithError(err)
	}()
	u, err := fstree.Unpack(ctx, root, r, fstree.UnpackOptions{})
	r.Close() // a writer that is not done ends here
	<-done
	if err != nil {
		return 0, err
	}
	return u.Newest, nil
}
