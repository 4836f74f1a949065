package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
)

// kept is a document as a server sent it earlier, and what lets that server say that it has not changed (RFC 9110,
// section 13). In its file the fields are one line of JSON, and the body follows.
type kept struct {
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	SHA256   string `json:"sha256"`
	body     []byte
}

// maxKeptHead bounds the line of JSON, in bytes.
const maxKeptHead = 8 << 10

// condition makes a request one for what has changed. A kept document that is none asks for everything.
func (k *kept) condition(h http.Header) {
	if k == nil {
		return
	}
	if k.ETag != "" {
		h.Set("If-None-Match", k.ETag)
	}
	if k.Modified != "" {
		h.Set("If-Modified-Since", k.Modified)
	}
}

// keepable reports whether a document may stay: it is asked for, and its URL holds no secret.
func keepable(doc distro.Document) bool {
	u, err := url.Parse(doc.URL)
	return err == nil && doc.Keep && u.User == nil && u.RawQuery == "" && strings.HasPrefix(u.Scheme, "http")
}

func (c *Client) keptPath(doc distro.Document) string {
	return filepath.Join(c.opts.Vault, "documents", urlName(doc.URL))
}

// kept finds what is kept of a document; nil for nothing, also when it is damaged or longer than wanted.
func (c *Client) kept(doc distro.Document) *kept {
	if !keepable(doc) {
		return nil
	}
	f, err := os.OpenFile(c.keptPath(doc), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > doc.Limit+maxKeptHead {
		return nil
	}
	text := make([]byte, info.Size())
	if n, err := f.ReadAt(text, 0); n < len(text) && err != nil {
		return nil
	}
	head, body, _ := bytes.Cut(text, []byte("\n"))
	k := &kept{body: body}
	sum := sha256.Sum256(body)
	if json.Unmarshal(head, k) != nil || k.SHA256 != hex.EncodeToString(sum[:]) || int64(len(body)) > doc.Limit ||
		strings.ContainsAny(k.ETag+k.Modified, "\r\n") {
		return nil
	}
	return k
}

// keep stores a document that just arrived. Failing costs a transfer, nothing else.
func (c *Client) keep(doc distro.Document, h http.Header, body []byte) {
	if !keepable(doc) {
		return
	}
	sum := sha256.Sum256(body)
	k := kept{ETag: h.Get("Etag"), Modified: h.Get("Last-Modified"), SHA256: hex.EncodeToString(sum[:])}
	head, err := json.Marshal(k)
	path := c.keptPath(doc)
	if k.ETag+k.Modified == "" || len(head) >= maxKeptHead || err != nil {
		os.Remove(path)
		return
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = storage.WriteFile(path, append(append(head, '\n'), body...), 0o644)
	}
}
