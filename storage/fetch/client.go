// Package fetch brings files from the network into the vault, verified.
//
// The vault is a directory of files named by the sha256 of their bytes:
//
//	sha256/HEX        a complete file, read-only
//	partial/HEX       what has arrived of a file so far; locked (flock) by whoever adds to it
//	partial/HEX.from  where that came from, so that a server can say whether it still has the same file
//	partial/url-HEX   the same of a file whose digest is not known yet; HEX is the sha256 of its URL
//	bad/HEX.N         a file that had other bytes when it was used
//	documents/HEX     a document by the sha256 of its URL, for asking its server whether it has changed
//
// A file is visible under sha256 only after its size and digest were checked and it was made durable, by one rename. An
// interrupted transfer goes on at the byte where it stopped, in the next process too. Files are verified again when they
// are read (Open); damage takes the file out of the vault, and Fetch brings it again.
//
// Bytes that are verified by digest or signature may come over any transport; what is not needs https, a loopback
// host, or a host that the configuration allows. No error and no file here holds the credentials of a URL.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
)

// Progress is told how a Fetch advances. Methods are called from several goroutines, one at a time.
type Progress interface {
	// Start begins a transfer of so many files and bytes, of which some may have arrived earlier (Add says so).
	Start(what string, files int, bytes int64)
	// Add reports bytes that arrived; negative when a server made the transfer of a file begin anew.
	Add(bytes int64)
	// Done ends what Start began, also after an error.
	Done()
}

// Options configures a Client. The zero value of everything but Vault is a good default.
type Options struct {
	Vault     string   // directory of the vault; made when missing
	Offline   bool     // never use the network
	AllowHTTP []string // hosts (with port where it is not 80) trusted over plain http even for unverified content
	Progress  Progress // nil: silent
	Parallel  int      // simultaneous transfers; 0 is 6
	UserAgent string
	Waiting   storage.Waiting // told of other processes that bring the same file; nil: silent

	// Proxy tells which proxy a request goes through, nil for none; nil itself: none ever.
	Proxy func(*http.Request) (*url.URL, error)

	// Transport sends requests and, in place of Proxy, decides how; nil: the client's own. An error of it that has a
	// method Permanent() bool which says so is not tried again.
	Transport http.RoundTripper

	// Volatile vaults hold what is soon somewhere else: nothing in them is made durable.
	Volatile bool

	// Stall is how long a server may stay silent, or send next to nothing; 0 is 30 seconds.
	Stall time.Duration
	// Retries is how often in a row a transfer may fail without any progress; 0 is 5, negative is none.
	Retries int
	// Backoff is the wait before the first repetition, doubled each time; 0 is 300 milliseconds.
	Backoff time.Duration
}

// Client fetches files. It is safe for concurrent use, by several processes on one vault too.
type Client struct {
	opts  Options
	http  *http.Client
	mu    sync.Mutex // serialises Progress
	allow map[string]bool
}

var _ distro.Fetcher = (*Client)(nil)

// New makes the vault's directories and a client for it.
func New(opts Options) (*Client, error) {
	if opts.Parallel <= 0 {
		opts.Parallel = 6
	}
	if opts.Stall <= 0 {
		opts.Stall = 30 * time.Second
	}
	if opts.Retries == 0 {
		opts.Retries = 5
	}
	if opts.Backoff <= 0 {
		opts.Backoff = 300 * time.Millisecond
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "karapace"
	}
	for _, dir := range []string{"sha256", "partial"} {
		if err := os.MkdirAll(filepath.Join(opts.Vault, dir), 0o755); err != nil {
			return nil, fmt.Errorf("create vault: %w", err)
		}
	}
	c := &Client{opts: opts, allow: make(map[string]bool)}
	for _, h := range opts.AllowHTTP {
		c.allow[h] = true
	}
	through := opts.Transport
	if through == nil {
		through = transport(opts)
	}
	c.http = &http.Client{Transport: through, CheckRedirect: c.checkRedirect}
	return c, nil
}

// MissingError lists everything that an offline client would need from the network.
type MissingError struct{ Files []distro.File }

func (e *MissingError) Error() string {
	var total int64
	text := ""
	for _, f := range e.Files {
		total += max(f.Size, 0)
		text += "\n  " + describe(f)
	}
	if total > 0 {
		text = fmt.Sprintf(" (%s)", size(total)) + ":" + text
	} else {
		text = ":" + text
	}
	return fmt.Sprintf("offline, and %d files are not in the vault%s\nrun the command once with a network", len(e.Files), text)
}

func describe(f distro.File) string {
	if f.Size <= 0 {
		return redact(f.URL)
	}
	return fmt.Sprintf("%s  %s", redact(f.URL), size(f.Size))
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// Fetch brings all files into the vault, in parallel, and makes them durable. Those that are there already, with the
// right size, are left alone. An offline client returns a *MissingError that names every missing one.
func (c *Client) Fetch(ctx context.Context, what string, files []distro.File) error {
	missing, err := c.missing(files)
	if err != nil || len(missing) == 0 {
		return err
	}
	if c.opts.Offline {
		if err := c.Missing(missing); err != nil {
			return err
		}
	}
	var total int64
	for _, f := range missing {
		total += f.Size
	}
	c.progress(func(p Progress) { p.Start(what, len(missing), total) })
	defer c.progress(func(p Progress) { p.Done() })

	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.Parallel)
	for _, f := range missing {
		group.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return c.fetchOne(gctx, f)
		})
	}
	err = group.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if serr := syncDir(filepath.Join(c.opts.Vault, "sha256")); err == nil {
		err = serr
	}
	return err
}

// Missing returns a *MissingError with those of the files that only the network has: what an offline client could not
// fetch. It asks nobody.
func (c *Client) Missing(files []distro.File) error {
	missing, err := c.missing(files)
	if err != nil {
		return err
	}
	if far := remote(missing); len(far) > 0 {
		return &MissingError{Files: far}
	}
	return nil
}

// missing returns the files that the vault lacks, each once, and takes out those that have the wrong size.
func (c *Client) missing(files []distro.File) ([]distro.File, error) {
	seen := make(map[string]int64, len(files))
	var out []distro.File
	for _, f := range files {
		if err := checkFile(f); err != nil {
			return nil, err
		}
		if n, ok := seen[f.SHA256]; ok {
			if n != f.Size {
				return nil, fmt.Errorf("fetch %s: it is listed with two sizes, %d and %d", redact(f.URL), n, f.Size)
			}
			continue
		}
		seen[f.SHA256] = f.Size
		there, err := c.has(f)
		if err != nil {
			return nil, err
		}
		if !there {
			out = append(out, f)
		}
	}
	return out, nil
}

// maxUnknown bounds a file, in bytes.
const maxUnknown = 64 << 30

// emptySHA256 is the digest of nothing: the one file whose size is known to be 0.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sized reports whether the size of a file is known.
func sized(f distro.File) bool { return f.Size > 0 || f.SHA256 == emptySHA256 }

// bound is how many bytes a file may have.
func bound(f distro.File) int64 {
	if sized(f) {
		return f.Size
	}
	return maxUnknown
}

func checkFile(f distro.File) error {
	if !isHex(f.SHA256) {
		return fmt.Errorf("fetch %s: %q is not a sha256 digest", redact(f.URL), f.SHA256)
	}
	if f.Size < 0 || f.Size > maxUnknown {
		return fmt.Errorf("fetch %s: %d is not a size", redact(f.URL), f.Size)
	}
	return nil
}

func isHex(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// fetchOne tries the places of a file in order.
func (c *Client) fetchOne(ctx context.Context, f distro.File) error {
	p, err := c.openPartial(ctx, f.SHA256)
	if err != nil || p == nil { // nil: another process has brought it meanwhile
		if err == nil {
			c.add(f.Size)
		}
		return err
	}
	defer p.close()
	var failures []error
	for _, u := range append([]string{f.URL}, f.Mirrors...) {
		err := c.transfer(ctx, p, u, f)
		if err == nil {
			return p.commit(c.Path(f.SHA256), c.opts.Volatile)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failures = append(failures, fmt.Errorf("fetch %s: %w", redact(u), err))
	}
	return errors.Join(failures...)
}

func (c *Client) progress(call func(Progress)) {
	if c.opts.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call(c.opts.Progress)
}

func (c *Client) add(n int64) {
	if n != 0 {
		c.progress(func(p Progress) { p.Add(n) })
	}
}
