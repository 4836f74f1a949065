package pgp

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Owner trust as gpg --import-ownertrust writes it: how far the certificates of a key's holder are believed.
const (
	TrustMarginal = 4
	TrustFull     = 5
	TrustUltimate = 6
)

// marginalsNeeded is gpg's default, which pacman-key(8) leaves as it is.
const marginalsNeeded = 3

// Web is a key ring in which some keys vouch for others, as gpg's classic trust model has it: a key is valid when it is
// trusted itself, or when one fully or three marginally trusted keys have certified one and the same of its names.
// Dates count as they were when a signature was made, so that an answer does not change with the clock.
type Web struct {
	Ring    KeyRing
	Trust   map[string]int  // by fingerprint of the primary key, upper-case hexadecimal
	Revoked map[string]bool // fingerprints that are good for nothing
	All     bool            // every key of the ring that is not revoked is valid
}

// VerifyDetached checks a detached signature, binary or armored, over all that signed has. The error is a
// *SignatureError when no valid key vouches for it.
func (w *Web) VerifyDetached(signed io.ReadSeeker, signature []byte) error {
	body, err := plainSignature(signature)
	if err != nil {
		return err
	}
	_, err = w.Ring.verify(signed, body, time.Time{}, w.accept)
	return err
}

// accept refuses a signer who is not valid at the time. One that was revoked later is refused too: who has a stolen key
// can put any date.
func (w *Web) accept(key openpgp.Key, at time.Time) error {
	signer := key.Entity
	name := fingerprint(signer)
	switch {
	case w.Revoked[name], len(signer.Revocations) > 0, len(key.Revocations) > 0:
		return errors.New("the key is revoked")
	case w.All, w.Trust[name] >= TrustMarginal:
		return nil
	}
	for _, id := range signer.Identities {
		if w.vouched(signer, id, at) {
			return nil
		}
	}
	return errors.New("the key is not certified by enough keys that the base trusts")
}

func fingerprint(e *openpgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }

// vouched counts who has certified that this name belongs to this key.
func (w *Web) vouched(e *openpgp.Entity, id *openpgp.Identity, at time.Time) bool {
	if len(id.Revocations) > 0 {
		return false
	}
	marginal := 0
	counted := make(map[string]bool) // a ring joined of several may have a key twice
	for _, certifier := range w.Ring.keys {
		name := fingerprint(certifier)
		trust := w.Trust[name]
		if trust < TrustMarginal || counted[name] || w.Revoked[name] || len(certifier.Revocations) > 0 || !certified(certifier, e, id, at) {
			continue
		}
		if trust >= TrustFull {
			return true
		}
		counted[name] = true
		marginal++
	}
	return marginal >= marginalsNeeded
}

// certified reports whether the newest statement of by about id is a certificate, not expired at the time.
func certified(by, e *openpgp.Entity, id *openpgp.Identity, at time.Time) bool {
	var newest *packet.Signature
	for _, sig := range id.Signatures {
		if sig.IssuerKeyId == nil || *sig.IssuerKeyId != by.PrimaryKey.KeyId || !strongEnough(sig) {
			continue
		}
		if newest != nil && !sig.CreationTime.After(newest.CreationTime) {
			continue
		}
		if by.PrimaryKey.VerifyUserIdSignature(id.Name, e.PrimaryKey, sig) == nil {
			newest = sig
		}
	}
	if newest == nil || newest.SigType == packet.SigTypeCertificationRevocation {
		return false
	}
	life := newest.SigLifetimeSecs
	return life == nil || *life == 0 || !at.After(newest.CreationTime.Add(time.Duration(*life)*time.Second))
}

// strongEnough refuses certificates over digests that can be forged; SHA-1 for SHA-1 the date is gpg's.
func strongEnough(sig *packet.Signature) bool {
	switch sig.Hash {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return true
	case crypto.SHA1:
		return sig.CreationTime.Before(time.Date(2019, 1, 19, 0, 0, 0, 0, time.UTC))
	}
	return false
}

// ParseOwnerTrust reads lines "FINGERPRINT:LEVEL:".
func ParseOwnerTrust(text []byte) (map[string]int, error) {
	out := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, level, ok := strings.Cut(strings.TrimSuffix(line, ":"), ":")
		if !ok || !isFingerprint(name) || len(level) != 1 || level[0] < '0' || level[0] > '9' {
			return nil, fmt.Errorf("%q is not a fingerprint and a level of trust", line)
		}
		out[strings.ToUpper(name)] = int(level[0] - '0')
	}
	return out, nil
}

// ParseFingerprints reads one fingerprint a line.
func ParseFingerprints(text []byte) ([]string, error) {
	var out []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if !isFingerprint(line) {
			return nil, fmt.Errorf("%q is not a fingerprint", line)
		}
		out = append(out, strings.ToUpper(line))
	}
	return out, nil
}

func isFingerprint(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
