package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var webStart = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func onDay(days int) *packet.Config {
	return &packet.Config{Time: func() time.Time { return webStart.AddDate(0, 0, days) }, Algorithm: packet.PubKeyAlgoEdDSA}
}

func webKey(t *testing.T, name string, lifeDays int) *openpgp.Entity {
	t.Helper()
	c := onDay(0)
	c.KeyLifetimeSecs = uint32(lifeDays * 86400)
	e, err := openpgp.NewEntity(name, "", name+"@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func certify(t *testing.T, e, by *openpgp.Entity, day int) {
	t.Helper()
	for name := range e.Identities {
		if err := e.SignIdentity(name, by, onDay(day)); err != nil {
			t.Fatal(err)
		}
	}
}

// public is the ring as it would be read from a file.
func public(t *testing.T, keys ...*openpgp.Entity) KeyRing {
	t.Helper()
	var b bytes.Buffer
	for _, e := range keys {
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := ReadKeyRing(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func detached(t *testing.T, e *openpgp.Entity, day int, text string) []byte {
	t.Helper()
	sig := &packet.Signature{Version: e.PrivateKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: e.PrivateKey.PubKeyAlgo,
		Hash: crypto.SHA256, CreationTime: onDay(day).Now(), IssuerKeyId: &e.PrivateKey.KeyId} // by hand: an expired key signs too
	h, err := sig.PrepareSign(onDay(day))
	if err != nil {
		t.Fatal(err)
	}
	h.Write([]byte(text))
	var b bytes.Buffer
	if err := errors.Join(sig.Sign(h, e.PrivateKey, onDay(day)), sig.Serialize(&b)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A key is valid by one full or three marginal certificates, and not when it or they are revoked.
func TestWeb(t *testing.T) {
	var masters []*openpgp.Entity
	trust := make(map[string]int)
	for _, name := range []string{"m1", "m2", "m3", "m4"} {
		m := webKey(t, name, 0)
		masters = append(masters, m)
		trust[fingerprint(m)] = TrustMarginal
	}
	full := webKey(t, "full", 0)
	trust[fingerprint(full)] = TrustFull
	packager, short := webKey(t, "packager", 0), webKey(t, "short", 30)
	two, one, none := webKey(t, "two", 0), webKey(t, "one", 0), webKey(t, "none", 0)
	gone, taken, later := webKey(t, "gone", 0), webKey(t, "taken", 0), webKey(t, "later", 0)
	for _, m := range masters[:3] {
		certify(t, packager, m, 1)
		certify(t, short, m, 1)
		certify(t, gone, m, 1)
		certify(t, taken, m, 1)
		certify(t, later, m, 100) // after the signature
	}
	for _, m := range masters[:2] {
		certify(t, two, m, 1)
	}
	certify(t, one, full, 1)
	sig := detached(t, taken, 10, "text")
	if err := taken.RevokeKey(packet.NoReason, "", onDay(50)); err != nil {
		t.Fatal(err)
	}
	ring := public(t, append(masters, full, packager, short, two, one, none, gone, taken, later)...)
	w := &Web{Ring: ring, Trust: trust, Revoked: map[string]bool{fingerprint(gone): true}}
	for _, tt := range []struct {
		key  *openpgp.Entity
		day  int
		want string
	}{
		{packager, 10, ""}, {masters[0], 10, ""}, {full, 10, ""}, {one, 10, ""}, {later, 10, ""}, {short, 10, ""},
		{short, 40, "expired"}, {two, 10, "not certified"}, {none, 10, "not certified"}, {gone, 10, "revoked"},
		{webKey(t, "stranger", 0), 10, "unknown"},
	} {
		err := w.VerifyDetached(strings.NewReader("text"), detached(t, tt.key, tt.day, "text"))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v on day %d: %v, want %q", tt.key.PrimaryIdentity().Name, tt.day, err, tt.want)
		}
	}
	if err := w.VerifyDetached(strings.NewReader("text"), sig); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a key that was revoked later: %v", err)
	}
	if err := w.VerifyDetached(strings.NewReader("text!"), detached(t, packager, 10, "text")); err == nil {
		t.Error("another text passes")
	}
	both := append(detached(t, none, 10, "text"), detached(t, packager, 10, "text")...)
	if err := w.VerifyDetached(strings.NewReader("text"), both); err != nil {
		t.Errorf("one good signature of two: %v", err)
	}
	w.Revoked[fingerprint(masters[0])] = true
	if err := w.VerifyDetached(strings.NewReader("text"), detached(t, packager, 10, "text")); err == nil {
		t.Error("the certificate of a revoked master counts")
	}
	w.All = true
	if err := w.VerifyDetached(strings.NewReader("text"), detached(t, none, 10, "text")); err != nil {
		t.Errorf("all keys are trusted: %v", err)
	}
	if err := w.VerifyDetached(strings.NewReader("text"), detached(t, gone, 10, "text")); err == nil {
		t.Error("all keys are trusted, a revoked one too")
	}
}

// A name that is certified by two and another by one make no three.
func TestWebCountsByName(t *testing.T) {
	trust := make(map[string]int)
	e := webKey(t, "a", 0)
	if err := e.AddUserId("b", "", "b@example.org", onDay(0)); err != nil {
		t.Fatal(err)
	}
	ring := []*openpgp.Entity{e}
	names := []string{"a <a@example.org>", "a <a@example.org>", "b <b@example.org>"}
	for i, name := range names {
		m := webKey(t, "m"+string(rune('1'+i)), 0)
		trust[fingerprint(m)] = TrustMarginal
		if err := e.SignIdentity(name, m, onDay(1)); err != nil {
			t.Fatal(err)
		}
		ring = append(ring, m)
	}
	w := &Web{Ring: public(t, ring...), Trust: trust}
	if err := w.VerifyDetached(strings.NewReader("x"), detached(t, e, 2, "x")); err == nil {
		t.Error("certificates of different names are added up")
	}
}

func TestParseTrust(t *testing.T) {
	f := strings.Repeat("aB", 20)
	trust, err := ParseOwnerTrust([]byte("# masters\n\n" + f + ":4:\n"))
	if err != nil || trust[strings.ToUpper(f)] != TrustMarginal {
		t.Errorf("got %v, %v", trust, err)
	}
	for _, bad := range []string{f, f + ":", f + ":x:", f + ":44:", "x:4:", f[1:] + ":4:"} {
		if got, err := ParseOwnerTrust([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	list, err := ParseFingerprints([]byte(f + "\n"))
	if err != nil || len(list) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := ParseFingerprints([]byte("abc")); err == nil {
		t.Error("no fingerprint is accepted")
	}
}
