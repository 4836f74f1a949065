package ociimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync/atomic"

	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	blobDir    = "blobs/sha256"
	tempPrefix = ".tmp-"
)

// Layout is a Sink that fills an empty directory with an OCI layout (image specification, image-layout.md) of one image.
// Every file is written aside, flushed and renamed, index.json last: without it the directory is no layout. Whoever gave
// the directory renames it to its place then.
type Layout struct {
	root  *os.Root
	owner *Owner
	ref   string
	temp  atomic.Int64
	size  atomic.Int64
}

// Owner is whose the files of a layout are to be.
type Owner struct{ UID, GID int }

// NewLayout prepares the empty directory root. ref is the image's name in the layout, "" for none; owner nil leaves the
// files to this process's user. The caller closes root.
func NewLayout(root *os.Root, ref string, owner *Owner) (*Layout, error) {
	l := &Layout{root: root, owner: owner, ref: ref}
	for _, dir := range []string{path.Dir(blobDir), blobDir} {
		if err := root.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("write OCI layout: %w", err)
		}
		if err := l.settle(dir, 0o755); err != nil {
			return nil, fmt.Errorf("write OCI layout: %w", err)
		}
	}
	return l, nil
}

// Size is how many bytes the files have that were written.
func (l *Layout) Size() int64 { return l.size.Load() }

// settle gives a file or directory its mode, whatever the umask, and its owner.
func (l *Layout) settle(name string, mode fs.FileMode) error {
	if err := l.root.Chmod(name, mode); err != nil || l.owner == nil {
		return err
	}
	return l.root.Chown(name, l.owner.UID, l.owner.GID)
}

// Blob implements Sink.
func (l *Layout) Blob(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) (ispec.Descriptor, error) {
	temp := blobDir + "/" + tempPrefix + strconv.FormatInt(l.temp.Add(1), 10)
	d, err := l.file(temp, d, func(w io.Writer) error { return write(ctx, w) })
	if err == nil {
		err = l.root.Rename(temp, blobDir+"/"+d.Digest.Encoded())
	}
	if err != nil {
		l.root.Remove(temp)
		return d, fmt.Errorf("write OCI layout: %w", err)
	}
	return d, nil
}

// file makes a file that survives a power cut, once its directory is flushed.
func (l *Layout) file(name string, d ispec.Descriptor, write func(io.Writer) error) (ispec.Descriptor, error) {
	f, err := l.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return d, err
	}
	m := newMeter(f)
	if err = write(m); err == nil {
		err = l.settle(name, 0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return d, err
	}
	l.size.Add(m.size)
	return m.fill(d)
}

// Manifest implements Sink: with it the layout is whole.
func (l *Layout) Manifest(ctx context.Context, d ispec.Descriptor, body []byte) error {
	raw := func(b []byte) func(context.Context, io.Writer) error {
		return func(_ context.Context, w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(b))
			return err
		}
	}
	if _, err := l.Blob(ctx, d, raw(body)); err != nil {
		return err
	}
	if l.ref != "" {
		d.Annotations = map[string]string{ispec.AnnotationRefName: l.ref}
	}
	index, err := json.Marshal(ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: []ispec.Descriptor{d}})
	if err != nil {
		return fmt.Errorf("encode index.json: %w", err)
	}
	version, err := json.Marshal(ispec.ImageLayout{Version: ispec.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("encode oci-layout: %w", err)
	}
	for _, f := range []struct {
		name string
		body []byte
	}{{ispec.ImageLayoutFile, version}, {ispec.ImageIndexFile, index}} {
		if err := l.document(ctx, f.name, raw(f.body)); err != nil {
			return fmt.Errorf("write OCI layout: %w", err)
		}
	}
	return nil
}

// document writes a file of the top directory; what lies below must be safe before it says that it is there.
func (l *Layout) document(ctx context.Context, name string, write func(context.Context, io.Writer) error) error {
	for _, dir := range []string{blobDir, path.Dir(blobDir), "."} {
		if err := l.syncDir(dir); err != nil {
			return err
		}
	}
	if _, err := l.file(tempPrefix+name, ispec.Descriptor{}, func(w io.Writer) error { return write(ctx, w) }); err != nil {
		return err
	}
	if err := l.root.Rename(tempPrefix+name, name); err != nil {
		return err
	}
	return l.syncDir(".")
}

func (l *Layout) syncDir(name string) error {
	d, err := l.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
