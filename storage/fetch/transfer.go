package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest/distro"
)

// minProgress is what has to arrive within Options.Stall for a transfer to count as alive, in bytes.
const minProgress = 16 << 10

// statusError is an answer other than success.
type statusError struct {
	code  int
	after time.Duration // the server's own wish, 0 when it had none
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the server answered %d %s", e.code, http.StatusText(e.code)))
}

func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

// contentError says that a server has other bytes than the ones asked for.
type contentError struct{ reason string }

func (e *contentError) Error() string { return e.reason }

var (
	errStalled = errors.New("the server stopped sending")
	errShort   = errors.New("the connection ended too early")
)

func transient(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		switch status.code {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return true
		}
		return status.code >= 500
	}
	var (
		redirect    *redirectError
		content     *contentError
		local       *localError
		missing     *MissingError
		certificate *tls.CertificateVerificationError
		permanent   interface{ Permanent() bool }
	)
	if errors.As(err, &permanent) && permanent.Permanent() {
		return false
	}
	if errors.As(err, &redirect) || errors.As(err, &content) || errors.As(err, &local) ||
		errors.As(err, &missing) || errors.As(err, &certificate) {
		return false
	}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}

// retry calls try until it succeeds, fails for good, or fails too often in a row; try reports whether it made progress.
func (c *Client) retry(ctx context.Context, try func() (progress bool, err error)) error {
	const maxAttempts = 100 // progress or not
	for failed, attempt := 0, 0; ; attempt++ {
		progress, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed++; progress {
			failed = 1
		}
		if !transient(err) || failed > max(c.opts.Retries, 0) || attempt >= maxAttempts {
			return scrub(err)
		}
		wait := c.opts.Backoff << min(failed-1, 5)
		wait = wait/2 + rand.N(wait/2+1)
		var status *statusError
		if errors.As(err, &status) {
			wait = max(wait, min(status.after, time.Minute))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// transfer completes p from one URL and verifies it.
func (c *Client) transfer(ctx context.Context, p *partial, raw string, f distro.File) error {
	u, err := parse(raw)
	if err != nil {
		return err
	}
	if !p.loaded {
		if err := p.load(bound(f)); err != nil {
			return err
		}
		c.add(p.n)
	}
	resumed := p.n > 0
	for {
		best := p.n // a server that starts anew each time makes no progress
		err := c.retry(ctx, func() (bool, error) {
			err := c.attempt(ctx, p, u, f)
			progress := p.n > best
			best = max(best, p.n)
			return progress, err
		})
		if err == nil && p.sum() != f.SHA256 {
			err = &contentError{fmt.Sprintf("its sha256 is %s, not %s", p.sum(), f.SHA256)}
		}
		var content *contentError
		if err == nil || !errors.As(err, &content) {
			return err
		}
		c.add(-p.n)
		if rerr := p.reset(); rerr != nil {
			return &localError{rerr}
		}
		if !resumed { // else the old part may be what was wrong: once more from the start
			return err
		}
		resumed = false
	}
}

// attempt asks once for what is missing and adds what arrives.
func (c *Client) attempt(ctx context.Context, p *partial, u *url.URL, f distro.File) error {
	if p.n > 0 && (p.n == f.Size || !sized(f) && p.sum() == f.SHA256) {
		return nil
	}
	if u.Scheme == "file" {
		return c.attemptLocal(p, u, f)
	}
	if c.opts.Offline {
		return &MissingError{Files: []distro.File{f}}
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, verifiedKey{}, true))
	defer cancel(nil)
	req, err := c.request(ctx, u)
	if err != nil {
		return err
	}
	if p.n > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(p.n, 10)+"-")
		if v := p.validator(redact(u.String())); v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := c.begin(p, resp, f); err != nil {
		return err
	}
	p.note(redact(u.String()), validator(resp.Header))
	return c.receive(p, newStallReader(resp.Body, c.opts.Stall, cancel), f)
}

func (c *Client) request(ctx context.Context, u *url.URL) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// begin brings p to the position where the answer's body starts.
func (c *Client) begin(p *partial, resp *http.Response, f distro.File) error {
	restart := func() error {
		c.add(-p.n)
		if err := p.reset(); err != nil {
			return &localError{err}
		}
		return nil
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != f.Size && sized(f) {
			return &contentError{fmt.Sprintf("it has %d bytes, not %d", resp.ContentLength, f.Size)}
		}
		return restart()
	case http.StatusPartialContent:
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if total >= 0 && total != f.Size && sized(f) {
			return &contentError{fmt.Sprintf("it has %d bytes, not %d", total, f.Size)}
		}
		if !ok || start != p.n || p.n == 0 {
			return errors.Join(restart(), errors.New("the server sent another range than asked for"))
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(restart(), errors.New("the server cannot continue the transfer"))
	}
	return newStatusError(resp)
}

func newStatusError(resp *http.Response) error {
	e := &statusError{code: resp.StatusCode}
	wish := resp.Header.Get("Retry-After") // RFC 9110, section 10.2.3: seconds, or a date
	if s, err := strconv.Atoi(wish); err == nil && s > 0 {
		e.after = time.Duration(min(s, 3600)) * time.Second
	} else if at, err := http.ParseTime(wish); err == nil {
		e.after = max(0, time.Until(at))
	}
	return e
}

// contentRange parses "bytes 5-9/10"; total is -1 when the server does not know it.
func contentRange(h string) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(h, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, _, ok3 := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	total, terr := strconv.ParseInt(size, 10, 64)
	if terr != nil {
		total = -1
	}
	return start, total, ok && ok2 && ok3 && err == nil && start >= 0
}

func validator(h http.Header) string {
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// receive adds the body to p. More bytes than the file has are refused; fewer can be continued.
func (c *Client) receive(p *partial, body io.Reader, f distro.File) error {
	_, err := io.Copy(&counter{p, c}, io.LimitReader(body, bound(f)-p.n))
	if err != nil {
		return err
	}
	if p.n < f.Size {
		return errShort
	}
	var one [1]byte
	if n, _ := io.ReadFull(body, one[:]); n > 0 {
		return &contentError{fmt.Sprintf("it has more than %d bytes", bound(f))}
	}
	return nil
}

type counter struct {
	p *partial
	c *Client
}

func (w *counter) Write(b []byte) (int, error) {
	n, err := w.p.Write(b)
	w.c.add(int64(n))
	return n, err
}

// attemptLocal reads a file of this machine.
func (c *Client) attemptLocal(p *partial, u *url.URL, f distro.File) error {
	src, err := openLocal(u)
	if err != nil {
		return err
	}
	defer src.Close()
	c.add(-p.n)
	if err := p.reset(); err != nil {
		return &localError{err}
	}
	err = c.receive(p, src, f)
	if errors.Is(err, errShort) {
		return &contentError{fmt.Sprintf("it has %d bytes, not %d", p.n, f.Size)}
	}
	return err
}

func openLocal(u *url.URL) (*os.File, error) {
	src, err := os.OpenFile(u.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &localError{err}
	}
	if info, err := src.Stat(); err != nil || !info.Mode().IsRegular() {
		src.Close()
		return nil, &contentError{"it is not a regular file"}
	}
	return src, nil
}

// stallReader ends the request when too little arrives for too long: a server that sends one byte a second would
// otherwise keep a transfer for ever.
type stallReader struct {
	r     io.Reader
	limit time.Duration
	timer *time.Timer
	since int // bytes since the timer was set
}

func newStallReader(r io.Reader, limit time.Duration, cancel context.CancelCauseFunc) *stallReader {
	return &stallReader{r: r, limit: limit, timer: time.AfterFunc(limit, func() { cancel(errStalled) })}
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		if !s.timer.Stop() && err != io.EOF {
			err = errStalled
		}
		return n, err
	}
	if s.since += n; s.since >= minProgress {
		s.since = 0
		s.timer.Reset(s.limit)
	}
	return n, err
}
