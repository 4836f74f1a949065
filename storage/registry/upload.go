package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Upload sends to a repository what it does not have. Its methods Blob and Manifest take the parts of an image; several
// goroutines may call them.
type Upload struct {
	repo    *remote.Repository
	name    string   // of the repository, for people
	tag     string   // that the next manifest gets; empty: none
	from    []string // other repositories of the registry that may have the blobs
	scratch string   // directory for what must be seen to its end before it can be named
	stall   time.Duration
	counts  *counts
	moved   func(int64)
}

// counts are bytes.
type counts struct{ sent, kept, mounted atomic.Int64 }

// Upload begins one. tag is what the first manifest is called; from are other repositories of the registry, whose blobs
// are taken over without being sent; scratch is a directory for temporary files.
// moved, which may be nil, is told of bytes of blobs that the repository has now, and of those that it has not after all.
func (c *Client) Upload(tag string, from []string, scratch string, moved func(int64)) *Upload {
	if moved == nil {
		moved = func(int64) {}
	}
	return &Upload{
		moved: moved,
		repo:  c.repository(), name: c.ref.Registry + "/" + c.ref.Repository, tag: tag, from: from, scratch: scratch, stall: c.options.Stall, counts: &counts{},
	}
}

// Ready makes sure that the registry answers, to this user.
func (u *Upload) Ready(ctx context.Context) error {
	err := u.retry(ctx, func() error {
		_, err := u.repo.Blobs().Exists(ctx, ispec.DescriptorEmptyJSON)
		return err
	})
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		err = fmt.Errorf("the server answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	if err != nil {
		return fmt.Errorf("push to %s: %w", u.name, plain(err))
	}
	return nil
}

// Counts tells how many bytes of blobs were sent, how many were there already, and how many other repositories gave.
func (u *Upload) Counts() (sent, kept, mounted int64) {
	return u.counts.sent.Load(), u.counts.kept.Load(), u.counts.mounted.Load()
}

// Blob sends what write writes, unless the repository has it. d has at least a media type; without a digest everything is
// written to a temporary file first. write is called again when sending must be tried again.
func (u *Upload) Blob(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) (ispec.Descriptor, error) {
	if d.Digest == "" {
		f, err := u.spool(ctx, write)
		if err != nil {
			return d, err
		}
		defer f.Close()
		d.Digest, d.Size = f.digest, f.size
		write = f.write
	}
	err := u.retry(ctx, func() error { return u.blob(ctx, d, write) })
	if err != nil {
		return d, fmt.Errorf("push to %s: %w", u.name, plain(err))
	}
	return d, nil
}

// Manifest sends a manifest, all of whose parts are there, and makes it visible. Of one with a subject the registry, or
// else the list below the subject's fallback tag, learns that it refers to it.
func (u *Upload) Manifest(ctx context.Context, d ispec.Descriptor, body []byte) error {
	err := u.retry(ctx, func() error {
		if u.tag == "" {
			return u.repo.Push(ctx, d, bytes.NewReader(body))
		}
		return u.repo.PushReference(ctx, d, bytes.NewReader(body), u.tag)
	})
	if err != nil {
		return fmt.Errorf("push manifest to %s: %w", u.name, plain(err))
	}
	return nil
}

// Tagged is the same upload for manifests that get another tag, "" for none.
func (u *Upload) Tagged(tag string) *Upload {
	other := *u
	other.tag = tag
	return &other
}

// blob makes the repository have a blob.
func (u *Upload) blob(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) error {
	there, err := u.repo.Blobs().Exists(ctx, d)
	if err != nil {
		return err
	}
	if there {
		u.counts.kept.Add(d.Size)
		u.moved(d.Size)
		return nil
	}
	for _, other := range u.from {
		if u.mount(ctx, d, other) {
			u.counts.mounted.Add(d.Size)
			u.moved(d.Size)
			return nil
		}
	}
	if err := u.send(ctx, d, write); err != nil {
		return err
	}
	u.counts.sent.Add(d.Size)
	return nil
}

var errNotMounted = errors.New("the registry does not mount it")

// mount takes a blob over from another repository, if that has it. Failing costs a request.
func (u *Upload) mount(ctx context.Context, d ispec.Descriptor, from string) bool {
	other := &remote.Repository{Client: u.repo.Client, Reference: u.repo.Reference, PlainHTTP: u.repo.PlainHTTP}
	other.Reference.Repository = from
	if there, err := other.Blobs().Exists(ctx, d); err != nil || !there {
		return false
	}
	return u.repo.Mount(ctx, d, from, func() (io.ReadCloser, error) { return nil, errNotMounted }) == nil
}

// send sends a blob in one request, as it is written.
func (u *Upload) send(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(ctx, w)
		w.CloseWithError(err)
		written <- err
	}()
	body := newWatched(r, u.stall, cancel, u.moved)
	err := u.repo.Blobs().Push(ctx, d, body)
	body.stop()
	r.CloseWithError(errAbandoned)
	if err != nil {
		u.moved(-body.n)
	}
	if werr := <-written; werr != nil && !errors.Is(werr, errAbandoned) {
		return &sourceError{werr}
	}
	if err != nil && errors.Is(context.Cause(ctx), errSlow) {
		return errSlow
	}
	return err
}

var (
	errAbandoned = errors.New("the registry took no more")
	errSlow      = errors.New("the registry stopped taking data")
)

// sourceError is a failure of what is sent, not of sending.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// watched gives up on a registry that takes nothing for too long. A slow source is not the registry's fault: the clock
// runs between reads only.
type watched struct {
	r     io.Reader
	limit time.Duration
	timer *time.Timer
	moved func(int64)
	n     int64
}

func newWatched(r io.Reader, limit time.Duration, cancel context.CancelCauseFunc, moved func(int64)) *watched {
	return &watched{moved: moved, r: r, limit: limit, timer: time.AfterFunc(limit, func() { cancel(errSlow) })}
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Stop()
	n, err := w.r.Read(p)
	w.n += int64(n)
	w.moved(int64(n))
	if err == nil {
		w.timer.Reset(w.limit)
	}
	return n, err
}

func (w *watched) stop() { w.timer.Stop() }

const (
	attempts  = 5
	firstWait = 300 * time.Millisecond
)

// retry calls f until it succeeds or fails for good.
func (u *Upload) retry(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if err == nil || ctx.Err() != nil || n == attempts || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(firstWait << (n - 1)):
		}
	}
}

func transient(err error) bool {
	var source *sourceError
	var policy *PolicyError
	if errors.As(err, &source) || errors.As(err, &policy) {
		return false
	}
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
	}
	var network *url.Error
	return errors.As(err, &network) || errors.Is(err, errSlow)
}

// plain is the cause below the URLs that every layer of a client puts before it.
func plain(err error) error {
	var at *url.Error
	for errors.As(err, &at) {
		err = at.Err
	}
	return err
}

// spooled is a temporary file of what is to be sent.
type spooled struct {
	*os.File
	digest digest.Digest
	size   int64
}

func (u *Upload) spool(ctx context.Context, write func(context.Context, io.Writer) error) (*spooled, error) {
	f, err := os.CreateTemp(u.scratch, "blob-")
	if err != nil {
		return nil, fmt.Errorf("spool blob: %w", err)
	}
	os.Remove(f.Name())
	h := sha256.New()
	s := &spooled{File: f}
	if err = write(ctx, io.MultiWriter(f, h)); err == nil {
		s.size, err = f.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.digest = digest.NewDigest(digest.SHA256, h)
	return s, nil
}

func (s *spooled) write(_ context.Context, w io.Writer) error {
	_, err := io.Copy(w, io.NewSectionReader(s.File, 0, s.size))
	return err
}
