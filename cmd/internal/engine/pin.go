package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// PinOptions are what pin takes.
type PinOptions struct {
	Manifest  string
	Check     bool // only tell whether base.image is pinned
	WriteLock bool // make the lock satisfy the manifest again
}

// PinResult is what became of a manifest and its lock.
type PinResult struct {
	File        string // the manifest
	BaseImage   string // as it stands there now
	Changed     bool
	LockFile    string
	LockWritten bool
	LockStale   bool // there is a lock, and it does not satisfy the manifest
}

// Pin rewrites base.image to the form that names the same bytes for ever: those of the lock when that satisfies the
// manifest, else what the image is now. Nothing else of the manifest changes.
func (e *Engine) Pin(ctx context.Context, o PinOptions) (*PinResult, error) {
	p, err := e.loadForUpdate(o.Manifest)
	if err != nil {
		return nil, err
	}
	if o.Check {
		if requirePinned(p) != nil {
			return nil, failure.New(failure.Lock, fmt.Errorf("%s: base.image %q is not pinned", p.File, p.Manifest.Base.Image), "karapace pin "+p.File)
		}
		return &PinResult{File: p.File, BaseImage: p.Manifest.Base.Image, LockFile: p.LockFile}, nil
	}
	out := &PinResult{File: p.File, BaseImage: p.Manifest.Base.Image, LockFile: p.LockFile}
	satisfied := p.Lock != nil && p.stale() == nil
	if requirePinned(p) != nil {
		if out.BaseImage, err = e.pinned(ctx, p, satisfied); err != nil {
			return nil, err
		}
		if err := p.repin(out.BaseImage); err != nil {
			return nil, err
		}
		out.Changed = true
	}
	if o.WriteLock && (out.Changed || !satisfied) {
		return out, e.relock(ctx, p, satisfied, out)
	}
	out.LockStale = p.Lock != nil && (out.Changed || !satisfied)
	return out, nil
}

// pinned gives base.image in its pinned form. A lock knows it already.
func (e *Engine) pinned(ctx context.Context, p *project, satisfied bool) (string, error) {
	ref, err := manifest.ParseBaseRef(p.Manifest.Base.Image)
	if err != nil {
		return "", failure.New(failure.Manifest, err, "")
	}
	if satisfied {
		if ref.Kind == manifest.BaseAlias {
			ref = manifest.BaseRef{Kind: manifest.BaseArchive, URL: p.Lock.BaseImageLocation}
		}
		ref.Digest = p.Lock.BaseImageDigest
		return ref.String(), nil
	}
	s, err := e.newStore()
	if err != nil {
		return "", err
	}
	q := *p
	q.LockText = nil
	res, err := e.buildRequest(ctx, s, &q, BuildOptions{}, wire.Build{Pin: true})
	if err != nil {
		return "", err
	}
	return res.Pinned, nil
}

// repin writes another base.image into the manifest's file.
func (p *project) repin(image string) error {
	text, err := manifest.WithBaseImage(p.File, p.Text, image)
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	if err := p.rewrite(p.Text, text); err != nil {
		return err
	}
	if p.Manifest, err = manifest.Parse(p.File, text); err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	p.Text = text
	return nil
}

// rewrite writes the manifest's file, if it still has the text was. It keeps its mode and, behind a link, its place.
func (p *project) rewrite(was, text []byte) error {
	path, err := filepath.EvalSymlinks(filepath.Join(p.Dir, filepath.Base(p.File)))
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	info, err := os.Stat(path)
	if err != nil {
		return failure.New(failure.Manifest, err, "")
	}
	now, err := readFile(path, manifestLimit)
	if err != nil {
		return failure.New(failure.Manifest, fmt.Errorf("read manifest: %w", err), "")
	}
	if !bytes.Equal(now, was) { // what somebody wrote meanwhile must not be lost
		return failure.New(failure.Manifest, fmt.Errorf("%s was changed meanwhile; nothing was written", p.File), "run the command again")
	}
	return failure.New(failure.Manifest, storage.WriteDocument(path, text, info.Mode().Perm()), "")
}

// relock makes a lock for the manifest as it is now. One that satisfied it before only learns the base's new name, so
// that no package changes.
func (e *Engine) relock(ctx context.Context, p *project, satisfied bool, out *PinResult) error {
	if !satisfied {
		res, err := e.resolve(ctx, p, LockOptions{})
		if err != nil {
			return pinnedOnly(err, out)
		}
		out.LockWritten = res.Written
		return nil
	}
	l := *p.Lock
	l.BaseImage = out.BaseImage
	l.Output.ImageDigest = "" // the image names its lock; its layers stay what they are
	if err := l.Validate(); err != nil {
		return failure.New(failure.Lock, err, "")
	}
	if err := p.writeLock(l.Encode()); err != nil {
		return pinnedOnly(err, out)
	}
	out.LockWritten = true
	return nil
}

// pinnedOnly tells that the first half is done.
func pinnedOnly(err error, out *PinResult) error {
	if !out.Changed || errors.Is(err, context.Canceled) {
		return err
	}
	kind, hint := failure.Of(err)
	return &failure.Error{Kind: kind, Err: fmt.Errorf("%s is pinned, but its lock cannot be made: %w", out.File, err), Hint: hint}
}
