package cosign

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair gives a private and a public key in PEM form.
func pair(t *testing.T, private, public any) ([]byte, []byte) {
	t.Helper()
	a, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	b, err := x509.MarshalPKIXPublicKey(public)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b})
}

func ecPair(t *testing.T, c elliptic.Curve) ([]byte, []byte) {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	check(t, err)
	return pair(t, k, k.Public())
}

func edPair(t *testing.T) ([]byte, []byte) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	return pair(t, private, public)
}

// What a key has signed is verified by it, among others, and by no other; anything else than the signed text is not.
func TestSign(t *testing.T) {
	d := digest.FromString("manifest")
	text, err := Payload("registry.example.org/team/image", d)
	check(t, err)
	ecKey, ecPublic := ecPair(t, elliptic.P256())
	edKey, edPublic := edPair(t)
	_, other := ecPair(t, elliptic.P256())
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte("x")})
	for _, c := range []struct{ key, public []byte }{{ecKey, ecPublic}, {slices.Concat(parameters, ecKey), ecPublic}, {edKey, edPublic}} {
		key, err := ReadPrivateKey(c.key)
		check(t, err)
		signature, err := key.Sign(text)
		check(t, err)
		var keys, strangers Keys
		check(t, keys.ReadKeys(append(append([]byte{}, other...), c.public...)))
		check(t, strangers.ReadKeys(other))
		check(t, keys.Verify(text, signature, d))
		raw, err := base64.StdEncoding.DecodeString(signature)
		check(t, err)
		raw[len(raw)-1] ^= 1
		for what, err := range map[string]error{
			"another key":       strangers.Verify(text, signature, d),
			"no key":            Keys(nil).Verify(text, signature, d),
			"another manifest":  keys.Verify(text, signature, digest.FromString("other")),
			"another text":      keys.Verify(append([]byte(" "), text...), signature, d),
			"another signature": keys.Verify(text, base64.StdEncoding.EncodeToString(raw), d),
			"no signature":      keys.Verify(text, "", d),
			"no base64":         keys.Verify(text, "%", d),
		} {
			if err == nil {
				t.Errorf("%s: verified", what)
			}
		}
		note, err := key.Sign([]byte(`{"critical":{"image":{"docker-manifest-digest":"` + d.String() + `"},"type":"something else"}}`))
		check(t, err)
		if err := keys.Verify([]byte(`{"critical":{"image":{"docker-manifest-digest":"`+d.String()+`"},"type":"something else"}}`), note, d); err == nil {
			t.Error("something of another type was verified")
		}
	}
}

// A signature made with openssl over a payload as cosign writes it, and where it lies.
func TestForeign(t *testing.T) {
	const (
		public = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETKP18F9SVw/BvA4jF0zVo0dTZGyH\nyN4ctUsxgXGlh/sBG1kj9vTfcqvPoLD+OqUIISBIvoP0k36N+IOyPHxsiw==\n-----END PUBLIC KEY-----\n"
		signed = `{"critical":{"identity":{"docker-reference":"registry.example.org/team/image"},"image":{"docker-manifest-digest":"sha256:87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"},"type":"cosign container image signature"},"optional":null}`
		sig    = "MEQCIAzFGkW1P+H5i4hTL02S2NupM40XxfRfWmB16Bk+jYCNAiBd0rv1rQi+BJuU9MTgXUbjISvC4XoZXhGJm5hgnfA99g=="
	)
	var keys Keys
	check(t, keys.ReadKeys([]byte(public)))
	d := digest.Digest("sha256:87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7")
	check(t, keys.Verify([]byte(signed), sig, d))
	if got, err := Payload("registry.example.org/team/image", d); err != nil || string(got) != signed {
		t.Errorf("payload %s, %v", got, err)
	}
	if got := Tag(d); got != "sha256-87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7.sig" {
		t.Error(got)
	}
}

func TestKeysRefused(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	rsaKey, rsaPublic := pair(t, weak, weak.Public())
	curveKey, curvePublic := ecPair(t, elliptic.P384())
	_, public := ecPair(t, elliptic.P256())
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")})
	for _, c := range []struct {
		text []byte
		want string
	}{
		{nil, "no key in PEM form"}, {[]byte("x"), "no key in PEM form"}, {rsaKey, "neither ECDSA"}, {curveKey, "neither ECDSA"},
		{public, "no private key"}, {locked, "encrypted"},
	} {
		if _, err := ReadPrivateKey(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %v", c.text, err)
		}
	}
	for _, text := range [][]byte{nil, []byte("x"), rsaPublic, curvePublic, rsaKey} {
		var keys Keys
		if err := keys.ReadKeys(text); err == nil {
			t.Errorf("%.40q is a key", text)
		}
	}
}
