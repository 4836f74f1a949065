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
	"os"
	"path/filepath"

	"github.com/karapace/karapace/manifest/distro"
)

// Get reads one document. A server's plain "there is none" (404, 410), or a missing local file, gives fs.ErrNotExist;
// an offline client gives a *MissingError for everything but file: URLs.
func (c *Client) Get(ctx context.Context, doc distro.Document) ([]byte, error) {
	var out []byte
	err := c.stream(ctx, doc, func(body io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(body, doc.Limit+1))
		if err == nil && int64(len(b)) > doc.Limit {
			err = tooLong(doc.Limit)
		}
		out = b
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", redact(doc.URL), err)
	}
	return out, nil
}

func tooLong(limit int64) error {
	return &contentError{fmt.Sprintf("it has more than %s", size(limit))}
}

// Add brings a document of unknown digest into the vault and says what it is. For large files that somebody names for
// the first time: there is no resuming, as nothing could tell whether the rest belongs to the start.
func (c *Client) Add(ctx context.Context, what string, doc distro.Document) (distro.File, error) {
	file := distro.File{URL: doc.URL}
	fail := func(err error) (distro.File, error) {
		return distro.File{}, fmt.Errorf("fetch %s: %w", redact(doc.URL), err)
	}
	tmp, err := os.CreateTemp(filepath.Join(c.opts.Vault, "partial"), "new-*")
	if err != nil {
		return fail(&localError{err})
	}
	defer os.Remove(tmp.Name()) // after the commit it has another name
	p := &partial{file: tmp, hash: sha256.New(), loaded: true, from: tmp.Name() + ".from"}
	defer p.close()
	started := false
	err = c.stream(ctx, doc, func(body io.Reader) error {
		c.add(-p.n)
		if err := p.reset(); err != nil {
			return &localError{err}
		}
		if !started {
			started = true
			c.progress(func(pr Progress) { pr.Start(what, 1, 0) })
		}
		n, err := io.Copy(&counter{p, c}, io.LimitReader(body, doc.Limit+1))
		if err == nil && n > doc.Limit {
			err = tooLong(doc.Limit)
		}
		return err
	})
	if started {
		c.progress(func(pr Progress) { pr.Done() })
	}
	if err != nil {
		return fail(err)
	}
	file.SHA256, file.Size = hex.EncodeToString(p.hash.Sum(nil)), p.n
	if there, err := c.has(file); err != nil || there {
		return file, err
	}
	if err := p.commit(c.Path(file.SHA256)); err != nil {
		return fail(err)
	}
	return file, syncDir(filepath.Join(c.opts.Vault, "sha256"))
}

// stream gives the body of a document to use, once more after each failure that may pass.
func (c *Client) stream(ctx context.Context, doc distro.Document, use func(io.Reader) error) error {
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
		return use(src)
	}
	if err := c.check(u, doc.Signed); err != nil {
		return err
	}
	if c.opts.Offline {
		return &MissingError{Files: []distro.File{{URL: doc.URL}}}
	}
	return c.retry(ctx, func() (bool, error) { return false, c.streamOnce(ctx, u, doc, use) })
}

func (c *Client) streamOnce(ctx context.Context, u *url.URL, doc distro.Document, use func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, verifiedKey{}, doc.Signed))
	defer cancel(nil)
	req, err := c.request(ctx, u)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return newStatusError(resp)
	}
	if resp.ContentLength > doc.Limit {
		return tooLong(doc.Limit)
	}
	err = use(newStallReader(resp.Body, c.opts.Stall, cancel))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errShort
	}
	return err
}
