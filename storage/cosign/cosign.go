// Package cosign makes and checks signatures of image manifests in the form that cosign calls simple signing: a small
// JSON payload that names a digest, signed with a key. It reads and sends nothing.
//
// The format is containers/image's docs/containers-signature.5.md for the payload and cosign's specs/SIGNATURE_SPEC.md
// for how it lies in a registry: a blob of an image manifest that is tagged after the digest, its signature in an
// annotation.
package cosign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What signatures are called in a registry.
const (
	PayloadType = "application/vnd.dev.cosign.simplesigning.v1+json" // media type of the payload
	Annotation  = "dev.cosignproject.cosign/signature"               // of its descriptor: the signature, in base64
	Artifact    = "application/vnd.dev.cosign.artifact.sig.v1+json"  // artifact type of signatures that are referrers
)

// PayloadLimit bounds a payload, in bytes.
const PayloadLimit = 64 << 10

// Tag is where the signatures of a manifest lie in its repository.
func Tag(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) + ".sig" }

// payload is what is signed.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// The type that payloads have; the second is what other tools of the format write.
const (
	payloadType      = "cosign container image signature"
	otherPayloadType = "atomic container signature"
)

// Payload is the text to sign for a manifest; repository is HOST/REPOSITORY.
func Payload(repository string, d digest.Digest) ([]byte, error) {
	var p payload
	p.Critical.Identity.Reference, p.Critical.Image.Digest, p.Critical.Type = repository, d, payloadType
	return json.Marshal(p)
}

// PrivateKey signs.
type PrivateKey struct{ key crypto.Signer }

// ReadPrivateKey reads a key in PEM form, PKCS 8 or SEC 1: ECDSA on P-256, or Ed25519.
func ReadPrivateKey(text []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(text)
	for block != nil && block.Type == "EC PARAMETERS" { // openssl writes them before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it holds no key in PEM form")
	}
	if strings.Contains(block.Type, "ENCRYPTED") {
		return nil, errors.New("the key is encrypted with a password; write it out without one, as openssl ecparam -genkey -noout -name prime256v1 does")
	}
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, errors.New("it holds no private key that is known here") // the cause may quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !known(signer.Public()) {
		return nil, errors.New("the key is neither ECDSA on P-256 nor Ed25519")
	}
	return &PrivateKey{signer}, nil
}

func known(key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return true
	}
	return false
}

// Public is the key that others verify with.
func (k *PrivateKey) Public() Keys { return Keys{k.key.Public()} }

// Sign gives the signature of a payload, in base64.
func (k *PrivateKey) Sign(payload []byte) (string, error) {
	message, hash := payload, crypto.Hash(0)
	if _, ok := k.key.Public().(*ecdsa.PublicKey); ok {
		sum := sha256.Sum256(payload)
		message, hash = sum[:], crypto.SHA256
	}
	sig, err := k.key.Sign(rand.Reader, message, hash)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// Keys are public keys, any of which may have signed.
type Keys []any

// ReadKeys adds the public keys of a text in PEM form.
func (k *Keys) ReadKeys(text []byte) error {
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || !known(key) {
			return errors.New("it holds something else than a public key, ECDSA on P-256 or Ed25519")
		}
		*k, found = append(*k, key), true
	}
	if !found {
		return errors.New("it holds no public key in PEM form")
	}
	return nil
}

// Verify tells whether one of the keys has signed the payload, and the payload is about the manifest.
func (k Keys) Verify(text []byte, signature string, d digest.Digest) error {
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return errors.New("the signature is no base64")
	}
	if !k.signed(text, sig) {
		return errors.New("none of the keys has signed it")
	}
	var p payload
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&p); err != nil {
		return errors.New("what was signed is no payload of a signature")
	}
	switch {
	case p.Critical.Type != payloadType && p.Critical.Type != otherPayloadType:
		return fmt.Errorf("what was signed is of the type %.60q", p.Critical.Type)
	case p.Critical.Image.Digest != d:
		return fmt.Errorf("what was signed is %.100q", p.Critical.Image.Digest)
	}
	return nil
}

func (k Keys) signed(text, sig []byte) bool {
	sum := sha256.Sum256(text)
	for _, key := range k {
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			if ecdsa.VerifyASN1(key, sum[:], sig) {
				return true
			}
		case ed25519.PublicKey:
			if ed25519.Verify(key, text, sig) {
				return true
			}
		}
	}
	return false
}
