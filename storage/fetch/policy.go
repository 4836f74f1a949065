package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest/distro"
)

const maxRedirects = 10

// verifiedKey marks a request whose content is verified by digest or signature.
type verifiedKey struct{}

func transport(opts Options) *http.Transport {
	dialer := &net.Dialer{Timeout: opts.Stall, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  opts.Proxy,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    opts.Parallel,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    opts.Stall,
		ResponseHeaderTimeout:  opts.Stall,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // sizes, ranges and digests are those of the file
	}
}

// parse accepts what may be fetched: http, https, and file with an absolute path on this machine.
func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it is not a URL") // the cause would quote it, credentials and all
	}
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "" {
			return nil, errors.New("the URL names no host")
		}
	case "file":
		if (u.Host != "" && u.Host != "localhost") || !filepath.IsAbs(u.Path) {
			return nil, errors.New("a file: URL needs an absolute path on this machine")
		}
	default:
		return nil, fmt.Errorf("scheme %q is not supported, use https, http or file", u.Scheme)
	}
	return u, nil
}

// check refuses a transport that anybody on the way can change, for content that nothing verifies.
func (c *Client) check(u *url.URL, verified bool) error {
	if u.Scheme == "http" && !verified && !loopback(u.Hostname()) && !c.allow[strings.ToLower(u.Host)] {
		return fmt.Errorf("plain http is refused for unverified content: use https, or allow the host %q in the configuration", u.Host)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// redirectError is permanent: trying again would be answered the same.
type redirectError struct{ reason string }

func (e *redirectError) Error() string { return "redirect refused: " + e.reason }

func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &redirectError{fmt.Sprintf("more than %d in a row", maxRedirects)}
	}
	if s := req.URL.Scheme; s != "http" && s != "https" {
		return &redirectError{fmt.Sprintf("scheme %q", s)}
	}
	verified, _ := req.Context().Value(verifiedKey{}).(bool)
	if err := c.check(req.URL, verified); err != nil {
		return &redirectError{err.Error()}
	}
	if !verified && req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https" {
		return &redirectError{"from https to http"}
	}
	return nil
}

// remote returns those files that only the network has.
func remote(files []distro.File) []distro.File {
	var out []distro.File
	for _, f := range files {
		if !strings.HasPrefix(f.URL, "file:") {
			out = append(out, f)
		}
	}
	return out
}

// redact gives a URL without user name, password, query and fragment: all of them can be secrets.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a malformed URL)"
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = nil, "", "", "", false
	return u.String()
}

// scrub removes URLs' credentials from the text of an error of net/http.
func scrub(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err // without the URL, which it would quote
	}
	text := err.Error()
	clean := text
	for from := 0; ; {
		i := strings.Index(clean[from:], "//")
		if i < 0 {
			break
		}
		from += i + 2
		end := strings.IndexAny(clean[from:], "/ \t\n\"'")
		if end < 0 {
			end = len(clean) - from
		}
		if at := strings.LastIndexByte(clean[from:from+end], '@'); at >= 0 {
			clean = clean[:from] + clean[from+at+1:]
		}
	}
	if clean == text {
		return err
	}
	return errors.New(clean)
}
