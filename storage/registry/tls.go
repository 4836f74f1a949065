package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pemLimit bounds a file of certificates, in bytes.
const pemLimit = 1 << 20

// trust gives the TLS configuration for a host: the system's certificates, those the configuration names, and what lies
// in the host's directory below one of dirs, as containers-certs.d(5) has it: *.crt are authorities, *.cert with *.key a
// client's own certificate. own tells whether anything was found for the host.
func trust(host string, files, dirs []string) (config *tls.Config, own bool, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12}
	var keys []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, host))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, false, fmt.Errorf("read certificates: %w", err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, host, e.Name())
			switch filepath.Ext(e.Name()) {
			case ".crt":
				files = append(files, path)
			case ".cert":
				keys = append(keys, path)
			}
		}
	}
	if len(files) > 0 {
		if config.RootCAs, err = authorities(files); err != nil {
			return nil, false, err
		}
	}
	for _, cert := range keys {
		pair, err := tls.LoadX509KeyPair(cert, strings.TrimSuffix(cert, ".cert")+".key")
		if err != nil {
			return nil, false, fmt.Errorf("read client certificate: %w", err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return config, len(files)+len(keys) > 0, nil
}

func authorities(files []string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(f, pemLimit))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", name)
		}
	}
	return pool, nil
}

func transport(config *tls.Config, o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.Stall, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: o.Proxy, DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: o.Stall, ResponseHeaderTimeout: o.Answer,
		MaxResponseHeaderBytes: 256 << 10, DisableCompression: true, WriteBufferSize: 128 << 10, ReadBufferSize: 128 << 10,
	}
}

// speaksHTTP asks a host that may be spoken to over plain http whether it wants that. Nothing secret is sent.
func speaksHTTP(ctx context.Context, base http.RoundTripper, host string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := base.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		return false
	}
	var record tls.RecordHeaderError
	return errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
