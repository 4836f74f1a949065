// Package pgp says whether one of the keys that a system trusts has signed some bytes: OpenPGP signatures of archives'
// indexes and of packages.
package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// KeyRing is a set of OpenPGP certificates that may sign.
type KeyRing struct{ keys openpgp.EntityList }

// maxSignatures bounds the signatures of one document; Debian's have three.
const maxSignatures = 32

// ReadKeyRing reads certificates, binary or armored (any number of blocks). Those that cannot be understood are left
// out; a ring of which nothing is left is an error.
func ReadKeyRing(data []byte) (KeyRing, error) {
	if !bytes.Contains(data, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(data))
		return finish(keys, err)
	}
	var ring openpgp.EntityList
	var first error
	for rest := bytes.NewReader(data); ; {
		block, err := armor.Decode(rest)
		if err == io.EOF {
			break
		}
		if err != nil {
			first = errors.Join(first, err)
			break
		}
		keys, err := openpgp.ReadKeyRing(block.Body)
		if err != nil && first == nil {
			first = err
		}
		if _, err := io.Copy(io.Discard, block.Body); err != nil && first == nil {
			first = err
		}
		ring = append(ring, keys...)
	}
	if len(ring) > 0 {
		first = nil
	}
	return finish(ring, first)
}

func finish(keys openpgp.EntityList, err error) (KeyRing, error) {
	if err == nil && len(keys) == 0 {
		err = errors.New("it has no usable key")
	}
	if err != nil {
		return KeyRing{}, fmt.Errorf("read key ring: %w", err)
	}
	return KeyRing{keys}, nil
}

// Join gives a ring with the keys of all.
func (k KeyRing) Join(more ...KeyRing) KeyRing {
	var all openpgp.EntityList
	for _, r := range append([]KeyRing{k}, more...) {
		all = append(all, r.keys...)
	}
	return KeyRing{all}
}

// Empty reports whether the ring has no key.
func (k KeyRing) Empty() bool { return len(k.keys) == 0 }

// Only gives the ring's certificates that have one of these fingerprints, of the primary key or of a subkey. A "!"
// after one is accepted and means the same here.
func (k KeyRing) Only(fingerprints []string) KeyRing {
	var out openpgp.EntityList
	for _, e := range k.keys {
		prints := []string{fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)}
		for _, s := range e.Subkeys {
			prints = append(prints, fmt.Sprintf("%X", s.PublicKey.Fingerprint))
		}
		for _, want := range fingerprints {
			if containsFold(prints, strings.TrimSuffix(want, "!")) {
				out = append(out, e)
				break
			}
		}
	}
	return KeyRing{out}
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// SignatureError says why nothing vouches for a document.
type SignatureError struct{ Reasons []string }

func (e *SignatureError) Error() string {
	if len(e.Reasons) == 0 {
		return "the document has no signature"
	}
	return "no signature is good: " + strings.Join(e.Reasons, "; ")
}

// Verify checks the signatures, each for itself: one good one of a key of the ring is enough, and others that are
// broken, expired or of unknown keys do not matter, as archives sign with old and new keys at the same time. A key or
// signature that has expired at the time now is not good; with the zero time, what counts is when it was made. It
// returns the fingerprint of the key that signed.
func (k KeyRing) Verify(text []byte, signatures io.Reader, now time.Time) (string, error) {
	return k.verify(bytes.NewReader(text), signatures, now, nil)
}

// verify is Verify for what may be too large for memory. accept, if there is one, may refuse a good signature for its
// key and the time it was made at.
func (k KeyRing) verify(signed io.ReadSeeker, signatures io.Reader, now time.Time, accept acceptor) (string, error) {
	packets := packet.NewOpaqueReader(signatures)
	failed := &SignatureError{}
	for range maxSignatures {
		raw, err := packets.Next()
		if err == io.EOF {
			return "", failed
		}
		if err != nil {
			failed.Reasons = append(failed.Reasons, "the signature is malformed")
			return "", failed
		}
		if _, err := signed.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		key, err := k.verifyOne(signed, raw, now, accept)
		if err == nil {
			return key, nil
		}
		failed.Reasons = append(failed.Reasons, err.Error())
	}
	return "", failed
}

type acceptor func(key openpgp.Key, made time.Time) error

// VerifyDetached is Verify for the content of a signature file, armored or not.
func (k KeyRing) VerifyDetached(text, signature []byte, now time.Time) (string, error) {
	body, err := plainSignature(signature)
	if err != nil {
		return "", err
	}
	return k.Verify(text, body, now)
}

func plainSignature(file []byte) (io.Reader, error) {
	if !bytes.Contains(file, []byte("-----BEGIN PGP SIGNATURE-----")) {
		return bytes.NewReader(file), nil
	}
	block, err := armor.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	return block.Body, nil
}

func (k KeyRing) verifyOne(signed io.Reader, raw *packet.OpaquePacket, now time.Time, accept acceptor) (string, error) {
	if len(raw.Contents) > 0 && raw.Tag == tagSignature && raw.Contents[0] == 3 {
		return k.verifyOld(signed, raw.Contents, accept)
	}
	parsed, err := raw.Parse()
	if err != nil {
		return "", errors.New("one is of an unknown kind")
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return "", errors.New("one is malformed")
	}
	name := fmt.Sprintf("key %016X", *sig.IssuerKeyId)
	if sig.SigType != packet.SigTypeBinary && sig.SigType != packet.SigTypeText {
		return "", fmt.Errorf("%s signed something else than a document", name)
	}
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return "", fmt.Errorf("%s signed with a weak digest", name)
	}
	asMade := now.IsZero()
	if asMade {
		now = sig.CreationTime
	}
	var one bytes.Buffer
	if err := raw.Serialize(&one); err != nil {
		return "", err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	good, signer, err := openpgp.VerifyDetachedSignature(k.keys, signed, &one, config)
	if asMade && signer != nil && (errors.Is(err, pgperrors.ErrSignatureExpired) || errors.Is(err, pgperrors.ErrKeyExpired)) {
		err = expiredWhenMade(signer, good) // the library calls a key expired that was only renewed since
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "openpgp: "))
	}
	for _, key := range (openpgp.EntityList{signer}).KeysById(*good.IssuerKeyId) {
		if weak(key.PublicKey) {
			return "", fmt.Errorf("%s is too weak", name)
		}
		if accept == nil {
			continue
		}
		if err := accept(key, good.CreationTime); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
}

// expiredWhenMade reports an error when a key was too old, or not there yet, at the time of its signature.
func expiredWhenMade(signer *openpgp.Entity, sig *packet.Signature) error {
	self, _ := signer.PrimarySelfSignature()
	if signer.PrimaryKey.KeyExpired(self, sig.CreationTime) {
		return pgperrors.ErrKeyExpired
	}
	for _, key := range (openpgp.EntityList{signer}).KeysById(*sig.IssuerKeyId) {
		if key.PublicKey.KeyExpired(key.SelfSignature, sig.CreationTime) {
			return pgperrors.ErrKeyExpired
		}
	}
	return nil
}

// weak is what apt does not accept either: RSA below 2048 bits, DSA.
func weak(key *packet.PublicKey) bool {
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		bits, err := key.BitLength()
		return err != nil || bits < 2048
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return true
	}
	return false
}
