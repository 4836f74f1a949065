package pgp

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestRealKeyRing reads the key ring of the machine where it is a Debian one: real keys, expired and odd ones too.
func TestRealKeyRing(t *testing.T) {
	b, err := os.ReadFile("/usr/share/keyrings/debian-archive-keyring.gpg")
	if err != nil {
		t.Skip("this machine has no Debian key ring: ", err)
	}
	ring, err := ReadKeyRing(b)
	if err != nil || len(ring.keys) < 3 {
		t.Fatalf("%d keys, %v", len(ring.keys), err)
	}
}

func newRSA(t testing.TB, bits int) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Packages", "", "p@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: bits})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// signOld makes a signature of version 3.
func signOld(t testing.TB, e *openpgp.Entity, text []byte, kind, hash byte) []byte {
	t.Helper()
	body := []byte{3, 5, kind}
	body = binary.BigEndian.AppendUint32(body, uint32(time.Now().Unix()))
	h := sha256.New()
	h.Write(text)
	h.Write(body[2:7])
	body = binary.BigEndian.AppendUint64(body, e.PrimaryKey.KeyId)
	body = append(body, 1, hash, 0, 0)
	sig, err := rsa.SignPKCS1v15(rand.Reader, e.PrivateKey.PrivateKey.(*rsa.PrivateKey), crypto.SHA256, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	sig = bytes.TrimLeft(sig, "\x00")
	body = binary.BigEndian.AppendUint16(body, uint16(len(sig)*8))
	body = append(body, sig...)
	return append(append([]byte{0x89}, byte(len(body)>>8), byte(len(body))), body...) // an old packet with two length bytes
}

// Signatures of version 3, which packages have, count under the same rules.
func TestOldSignatures(t *testing.T) {
	text := []byte("a header")
	good, other, short := newRSA(t, 2048), newRSA(t, 2048), newRSA(t, 1024)
	ring := KeyRing{openpgp.EntityList{good, short}}
	cut := signOld(t, good, text, 0, 8)
	for _, tt := range []struct {
		name, text, want string
		sig              []byte
	}{
		{"good", "a header", "", signOld(t, good, text, 0, 8)},
		{"second", "a header", "", append(signOld(t, other, text, 0, 8), signOld(t, good, text, 0, 8)...)},
		{"other text", "a headex", "is wrong", signOld(t, good, text, 0, 8)},
		{"unknown key", "a header", "unknown", signOld(t, other, text, 0, 8)},
		{"short key", "a header", "too weak", signOld(t, short, text, 0, 8)},
		{"SHA-1", "a header", "weak digest", signOld(t, good, text, 0, 2)},
		{"a key's signature", "a header", "something else", signOld(t, good, text, 0x10, 8)},
		{"cut", "a header", "malformed", cut[:len(cut)-1]},
		{"none", "a header", "no signature", nil},
	} {
		_, err := ring.Verify([]byte(tt.text), bytes.NewReader(tt.sig), time.Time{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key := newRSA(f, 2048)
	ring := KeyRing{openpgp.EntityList{key}}
	f.Add([]byte("text"), signOld(f, key, []byte("text"), 0, 8))
	f.Add([]byte("other"), signOld(f, key, []byte("text"), 0, 8))
	f.Fuzz(func(t *testing.T, text, sig []byte) {
		if _, err := ring.VerifyDetached(text, sig, time.Time{}); err == nil && string(text) != "text" {
			t.Fatalf("%q is signed by nobody", text)
		}
	})
}
