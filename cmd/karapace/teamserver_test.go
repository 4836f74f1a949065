package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// teamServer gives the command teamserver USER...: it starts karapace-server on loopback, empty, as $REGISTRY, until the
// script ends. It speaks TLS with a certificate of an authority whose own is in ca.crt, and lets only the users in, of whom
// the first may push. Each one's credentials are in NAME.json.
func teamServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: teamserver USER...")
	}
	server := filepath.Join(binaries, "karapace-server")
	if _, err := os.Stat(server); err != nil {
		ts.Fatalf("make build builds karapace-server, which this needs: %v", err)
	}
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "server-")
	ts.Check(err)
	pool, err := writeCertificates(dir, ts.MkAbs("ca.crt"))
	ts.Check(err)
	addr, err := testground.FreeAddress()
	ts.Check(err)
	for _, user := range args {
		cmd := exec.Command(server, "passwd", filepath.Join(dir, "users"), user)
		cmd.Stdin = strings.NewReader(user + "pw\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("set a password: %v\n%s", err, out)
		}
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + user + "pw"))
		ts.Check(os.WriteFile(ts.MkAbs(user+".json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, addr, auth), 0o600))
	}
	cmd := exec.Command(server, "--listen", addr, "--tls-certificate", filepath.Join(dir, "server.crt"), "--tls-key", filepath.Join(dir, "server.key"),
		"--auth-kind", "htpasswd", "--auth-htpasswd", filepath.Join(dir, "users"), "--auth-pushers", args[0], "--storage-path", filepath.Join(dir, "data"))
	log, err := os.Create(filepath.Join(dir, "log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 10 * time.Second}
	for range 1200 {
		if resp, err := client.Get("https://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			ts.Setenv("REGISTRY", addr)
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	ts.Fatalf("karapace-server does not answer at %s\n%s", addr, text)
}

// writeCertificates writes the certificate of a new authority, and server.crt and server.key that it has signed into dir.
func writeCertificates(dir, authority string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the team's authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	own, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	for file, block := range map[string]*pem.Block{
		authority: {Type: "CERTIFICATE", Bytes: own}, filepath.Join(dir, "server.crt"): {Type: "CERTIFICATE", Bytes: signed},
		filepath.Join(dir, "server.key"): {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own}))
	return pool, nil
}
