package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// certificate is the server's, read again when its file changes, so that renewing it needs no restart.
type certificate struct {
	files config.TLS
	mu    sync.Mutex
	when  time.Time
	pair  *tls.Certificate
}

func newCertificate(files config.TLS) (*certificate, error) {
	c := &certificate{files: files}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return c, nil
}

// get has the form that crypto/tls asks for. While a renewal is half written, the certificate before it holds.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	when, err := c.changed()
	if err == nil && c.pair != nil && when.Equal(c.when) {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.files.Certificate, c.files.Key)
	if err != nil {
		if c.pair != nil {
			return c.pair, nil
		}
		return nil, fmt.Errorf("tls: %w", err)
	}
	c.pair, c.when = &pair, when
	return c.pair, nil
}

func (c *certificate) changed() (time.Time, error) {
	var newest time.Time
	for _, name := range []string{c.files.Certificate, c.files.Key} {
		fi, err := os.Stat(name)
		if err != nil {
			return newest, err
		}
		if fi.ModTime().After(newest) {
			newest = fi.ModTime()
		}
	}
	return newest, nil
}
