package pgp

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

const tagSignature = 2 // RFC 4880, section 4.3

// verifyOld checks a signature of version 3 (RFC 4880, section 5.2.2), which the library knows no more and the makers
// of rpm packages still use:
//
//	version, 5, type, time (4), key (8), public key algorithm, hash algorithm, 16 bits of the hash, the signature
//
// It covers the text, the type and the time. Only RSA is accepted. What counts is when it was made.
func (k KeyRing) verifyOld(signed io.Reader, sig []byte, accept acceptor) (string, error) {
	if len(sig) < 21 || sig[1] != 5 {
		return "", errors.New("one is malformed")
	}
	id := binary.BigEndian.Uint64(sig[7:])
	name := fmt.Sprintf("key %016X", id)
	if kind := sig[2]; kind != 0 {
		return "", fmt.Errorf("%s signed something else than a document", name)
	}
	hash := map[byte]crypto.Hash{8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512}[sig[16]]
	if hash == 0 {
		return "", fmt.Errorf("%s signed with a weak digest", name)
	}
	bits := int(binary.BigEndian.Uint16(sig[19:]))
	number := sig[21:]
	if len(number) != (bits+7)/8 {
		return "", errors.New("one is malformed")
	}
	h := hash.New()
	if _, err := io.Copy(h, signed); err != nil {
		return "", err
	}
	h.Write(sig[2:7])
	made := time.Unix(int64(binary.BigEndian.Uint32(sig[3:])), 0)
	err := errors.New("signature made by unknown entity")
	for _, key := range k.keys.KeysById(id) {
		err = checkOld(key, made, hash, h.Sum(nil), number)
		if err == nil && accept != nil {
			err = accept(key, made)
		}
		if err == nil {
			return fmt.Sprintf("%X", key.Entity.PrimaryKey.Fingerprint), nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, err)
}

func checkOld(key openpgp.Key, made time.Time, hash crypto.Hash, sum, number []byte) error {
	public, ok := key.PublicKey.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok || weak(key.PublicKey):
		return errors.New("the key is too weak")
	case key.Revoked(made) || key.Entity.Revoked(made):
		return errors.New("the key is revoked")
	case rsa.VerifyPKCS1v15(public, hash, sum, padded(number, public.Size())) != nil:
		return errors.New("the signature is wrong")
	}
	return nil
}

// padded gives a number its leading zeros back.
func padded(number []byte, size int) []byte {
	if len(number) >= size {
		return number
	}
	return append(make([]byte, size-len(number)), number...)
}
