package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// parsed is the configuration that arguments give.
func parsed(args ...string) (config.Config, error) {
	var cfg config.Config
	a := app()
	keep := func(c *cli.Context) (err error) {
		cfg, err = configuration(c)
		return err
	}
	a.Action = keep
	for _, c := range a.Commands {
		c.Action = keep
	}
	err := a.Run(append([]string{"karapace-server"}, args...))
	return cfg, err
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "c.toml", "listen = '127.0.0.1:1'\ndrain = '9s'\n[limits]\nblob = '2GiB'\nmanifest = '1MiB'\n[storage]\npath = '/srv'\n")
	t.Setenv("KARAPACE_SERVER_LIMITS_BLOB", "3GiB")
	t.Setenv("KARAPACE_SERVER_LISTEN", "127.0.0.1:2")
	t.Setenv("KARAPACE_SERVER_READ_ONLY", "true")
	c, err := parsed("--config", file, "gc", "--listen", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3" || c.Limits.Blob != 3<<30 || c.Limits.Manifest != 1<<20 || c.Drain != config.Duration(9*time.Second) || !c.ReadOnly || c.Storage.Path != "/srv" || c.Limits.References != 1000 {
		t.Errorf("%+v", c)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for name, args := range map[string][]string{
		"open":          {"--listen", "0.0.0.0:5000"},
		"open, a name":  {"--listen", ":5000"},
		"no users":      {"--auth-kind", "htpasswd"},
		"no such users": {"--auth-kind", "htpasswd", "--auth-htpasswd", "/nowhere"},
		"half tls":      {"--tls-key", "k"},
		"manifest":      {"--limits-manifest", "5MiB"},
		"size":          {"--limits-blob", "lots"},
		"storage":       {"--storage-kind", "tape"},
		"bucket":        {"--storage-kind", "s3"},
		"relative":      {"--storage-path", "here"},
		"unknown key":   {"--config", writeFile(t, "c.toml", "lisen = 'x'\n")},
		"no file":       {"--config", "/nowhere"},
	} {
		if _, err := parsed(args...); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := parsed("--listen", "0.0.0.0:5000", "--insecure"); err != nil {
		t.Error(err)
	}
}

// The file that ships with the documentation of the unit must be one the server takes.
func TestUnitExample(t *testing.T) {
	content, err := os.ReadFile("karapace-server.toml")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	if err := c.Read(writeFile(t, "c.toml", string(content))); err != nil {
		t.Fatal(err)
	}
	if c.Listen == "" || c.Storage.Kind != "file" {
		t.Errorf("%+v", c)
	}
}

// makeCertificate writes a certificate of its own making for loopback.
func makeCertificate(t *testing.T, files config.TLS, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Key: {Type: "PRIVATE KEY", Bytes: private}, files.Certificate: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(certificate)
	return pool
}

// A certificate that is renewed is used from the next connection on.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := config.TLS{Certificate: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	pool := makeCertificate(t, files, 1)
	s := start(t, func(c *config.Config) { c.TLS = files })
	trust := func(pool *x509.CertPool) {
		s.client.CloseIdleConnections()
		s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	trust(pool)
	s.push("app", "v1", "text")
	fresh := makeCertificate(t, files, 2)
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(files.Certificate, later, later); err != nil {
		t.Fatal(err)
	}
	trust(fresh)
	if err := s.whole("app", "v1"); err != nil {
		t.Error(err)
	}
	trust(pool)
	if _, err := s.try("GET", "/v2/", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the old certificate: %v", err)
	}
}
