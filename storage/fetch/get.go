package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest/distro"
)

// Get reads one document. A server's plain "there is none" (404, 410), or a missing local file, gives fs.ErrNotExist;
// an offline client gives a *MissingError for everything but file: URLs, also for what it has kept: a document says
// what there is now.
func (c *Client) Get(ctx context.Context, doc distro.Document) ([]byte, error) {
	var out []byte
	old := c.kept(doc)
	err := c.stream(ctx, doc, exchange{ask: old.condition, use: func(a answer) error {
		if a.status == http.StatusNotModified {
			out = old.body
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(a.body, doc.Limit+1))
		if err == nil && int64(len(b)) > doc.Limit {
			err = tooLong(doc.Limit)
		}
		if err == nil {
			c.keep(doc, a.header, b)
		}
		out = b
		return err
	}})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", redact(doc.URL), err)
	}
	return out, nil
}

func tooLong(limit int64) error {
	return &contentError{fmt.Sprintf("it has more than %s", size(limit))}
}

// Add brings a document of unknown digest into the vault and says what it is. For large files that somebody names for
// the first time. What has arrived is continued only where the server's strong ETag says that the rest belongs to it.
func (c *Client) Add(ctx context.Context, what string, doc distro.Document) (distro.File, error) {
	file := distro.File{URL: doc.URL}
	fail := func(err error) (distro.File, error) {
		return distro.File{}, fmt.Errorf("fetch %s: %w", redact(doc.URL), err)
	}
	p, err := c.openPartial(ctx, "url-"+urlName(doc.URL))
	if err != nil {
		return fail(err)
	}
	defer p.close()
	if err := p.load(doc.Limit); err != nil {
		return fail(err)
	}
	if p.validator(redact(doc.URL)) == "" {
		if err := p.reset(); err != nil {
			return fail(&localError{err})
		}
	}
	if err := c.addTo(ctx, p, what, doc); err != nil {
		return fail(err)
	}
	file.SHA256, file.Size = p.sum(), p.n
	if there, err := c.has(file); err != nil || there {
		return file, errors.Join(err, p.discard())
	}
	if err := p.commit(c.Path(file.SHA256), c.opts.Volatile); err != nil {
		return fail(err)
	}
	return file, syncDir(filepath.Join(c.opts.Vault, "sha256"))
}

// addTo receives a document into p.
func (c *Client) addTo(ctx context.Context, p *partial, what string, doc distro.Document) error {
	from, started := redact(doc.URL), false
	defer func() {
		if started {
			c.progress(func(pr Progress) { pr.Done() })
		}
	}()
	return c.stream(ctx, doc, exchange{
		ask: func(h http.Header) {
			if tag := p.validator(from); p.n > 0 && tag != "" {
				h.Set("Range", "bytes="+strconv.FormatInt(p.n, 10)+"-")
				h.Set("If-Range", tag)
			}
		},
		got: func() int64 { return p.n },
		use: func(a answer) error {
			if !started {
				started = true
				c.progress(func(pr Progress) { pr.Start(what, 1, 0) })
				c.add(p.n)
			}
			if err := c.position(p, a, from); err != nil {
				return err
			}
			_, err := io.Copy(&counter{p, c}, io.LimitReader(a.body, doc.Limit+1-p.n))
			if err == nil && p.n > doc.Limit {
				err = errors.Join(tooLong(doc.Limit), p.reset())
			}
			return err
		},
	})
}

// position brings p to where the answer's body begins.
func (c *Client) position(p *partial, a answer, from string) error {
	start, _, ok := contentRange(a.header.Get("Content-Range"))
	if a.status == http.StatusPartialContent && ok && start == p.n && a.header.Get("Etag") == p.validator(from) {
		return nil
	}
	c.add(-p.n)
	if err := p.reset(); err != nil {
		return &localError{err}
	}
	switch a.status {
	case http.StatusPartialContent:
		return errors.New("the server sent another range than asked for")
	case http.StatusRequestedRangeNotSatisfiable: // all of it was there, perhaps
		return errors.New("the server cannot continue the transfer")
	}
	tag := a.header.Get("Etag")
	if !strings.HasPrefix(tag, `"`) {
		tag = ""
	}
	p.note(from, tag)
	return nil
}

// exchange is how a document is asked for and what is done with the answer.
type exchange struct {
	ask func(http.Header) // adds conditions to a request; may be nil
	got func() int64      // how much has arrived, to tell progress from none; may be nil
	use func(answer) error
}

type answer struct {
	status int // 200, or what the conditions asked for: 206, 304, 416
	header http.Header
	body   io.Reader
}

// stream makes an exchange, once more after each failure that may pass.
func (c *Client) stream(ctx context.Context, doc distro.Document, x exchange) error {
	u, err := parse(doc.URL)
	if err != nil {
		return err
	}
	if u.Scheme == "file" {
		src, err := openLocal(u)
		if err != nil {
			return err
		}
		defer src.Close()
		return x.use(answer{status: http.StatusOK, body: src})
	}
	if err := c.check(u, doc.Signed); err != nil {
		return err
	}
	if c.opts.Offline {
		return &MissingError{Files: []distro.File{{URL: doc.URL}}}
	}
	var best int64
	return c.retry(ctx, func() (bool, error) {
		err := c.streamOnce(ctx, u, doc, x)
		if x.got == nil || x.got() <= best {
			return false, err
		}
		best = x.got()
		return true, err
	})
}

func (c *Client) streamOnce(ctx context.Context, u *url.URL, doc distro.Document, x exchange) error {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, verifiedKey{}, doc.Signed))
	defer cancel(nil)
	req, err := c.request(ctx, u)
	if err != nil {
		return err
	}
	if x.ask != nil {
		x.ask(req.Header)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !expected(req.Header, resp.StatusCode) {
		return newStatusError(resp)
	}
	if resp.ContentLength > doc.Limit {
		return tooLong(doc.Limit)
	}
	err = x.use(answer{resp.StatusCode, resp.Header, newStallReader(resp.Body, c.opts.Stall, cancel)})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errShort
	}
	return err
}

// expected reports whether a status is an answer to what was asked.
func expected(asked http.Header, status int) bool {
	switch status {
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return asked.Get("Range") != ""
	case http.StatusNotModified:
		return asked.Get("If-None-Match")+asked.Get("If-Modified-Since") != ""
	}
	return status == http.StatusOK
}

// urlName is a file name for what belongs to a URL, which tells nobody the URL.
func urlName(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}
