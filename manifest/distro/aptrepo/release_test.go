package aptrepo

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/karapace/karapace/manifest/distro/pgp"
)

var signTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(t time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512}
}

func newKey(t testing.TB, made time.Time, life time.Duration) *openpgp.Entity {
	t.Helper()
	c := at(made)
	c.KeyLifetimeSecs = uint32(life / time.Second)
	e, err := openpgp.NewEntity("Archive", "", "a@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ringOf(t testing.TB, armored bool, keys ...*openpgp.Entity) pgp.KeyRing {
	t.Helper()
	var all bytes.Buffer
	for _, k := range keys {
		var one bytes.Buffer
		if err := k.Serialize(&one); err != nil {
			t.Fatal(err)
		}
		if !armored {
			all.Write(one.Bytes())
			continue
		}
		w, _ := armor.Encode(&all, openpgp.PublicKeyType, nil)
		w.Write(one.Bytes())
		w.Close()
		all.WriteByte('\n')
	}
	ring, err := pgp.ReadKeyRing(all.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func clearSign(t testing.TB, text string, c *packet.Config, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	var priv []*packet.PrivateKey
	for _, k := range keys {
		priv = append(priv, k.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&out, priv, c)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

const releaseText = `Origin: Mini
Label: Mini
Suite: stable
Codename: mini
Date: Sun, 01 Mar 2026 11:00:00 UTC
Valid-Until: Sun, 08 Mar 2026 11:00:00 UTC
Acquire-By-Hash: yes
Architectures: amd64 all
Components: main
No-Support-for-Architecture-all: Packages
MD5Sum:
 00000000000000000000000000000000 7 main/binary-amd64/Packages
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 50060337 main/binary-amd64/Packages
 6777ea16514725f9427f48c240d92e0a6b8496138e37a1491d8597e66774e309 12084798 main/binary-amd64/Packages.gz
 9e0b5aabb2465b3d2e7a7fe27f9913846277833f7a2826e7767acccff5b588c5  8790396 main/binary-amd64/Packages.xz
 041dbfb69308fe81f3a1d8c2dd2738e8bf0772332221a16c0627c3bbea788abd      120 main/binary-amd64/Release
`

func TestVerifyInRelease(t *testing.T) {
	good := newKey(t, signTime.AddDate(-1, 0, 0), 0)
	other := newKey(t, signTime.AddDate(-1, 0, 0), 0)
	short := newKey(t, signTime.AddDate(-1, 0, 0), 400*24*time.Hour) // expires a month after signing
	expiring := at(signTime)
	expiring.SigLifetimeSecs = 3600
	signed := clearSign(t, releaseText, at(signTime), good)
	later := signTime.Add(time.Hour * 2)
	replace := func(b []byte, old, new string) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	tests := []struct {
		name string
		ring pgp.KeyRing
		data []byte
		now  time.Time
		want string // in the error; empty: good
	}{
		{"good, binary ring", ringOf(t, false, other, good), signed, later, ""},
		{"good, armored ring of two blocks", ringOf(t, true, other, good), signed, later, ""},
		{"two signatures, one unknown", ringOf(t, true, good), clearSign(t, releaseText, at(signTime), other, good), later, ""},
		{"two signatures, one expired", ringOf(t, true, short, good), clearSign(t, releaseText, at(signTime), short, good), signTime.AddDate(1, 0, 0), ""},
		{"other key", ringOf(t, false, other), signed, later, "unknown"},
		{"no key", pgp.KeyRing{}, signed, later, "unknown"},
		{"expired key", ringOf(t, false, short), clearSign(t, releaseText, at(signTime), short), signTime.AddDate(1, 0, 0), "expired"},
		{"expired key, at the time of the signature", ringOf(t, false, short), clearSign(t, releaseText, at(signTime), short), time.Time{}, ""},
		{"expired signature", ringOf(t, false, good), clearSign(t, releaseText, expiring, good), later, "expired"},
		{"weak digest", ringOf(t, false, good), weakSigned(t, good, at(signTime)), later, "weak digest"},
		{"text changed", ringOf(t, false, good), replace(signed, "Suite: stable", "Suite: stabld"), later, "signature"},
		{"text before", ringOf(t, false, good), append([]byte("Suite: evil\n"), signed...), later, "nothing else"},
		{"empty line before", ringOf(t, false, good), append([]byte("\n"), signed...), later, "nothing else"},
		{"text after", ringOf(t, false, good), append(bytes.Clone(signed), "Suite: evil\n"...), later, "after the signed"},
		{"second message", ringOf(t, false, good), append(bytes.Clone(signed), signed...), later, "nothing else"},
		{"text between header and body", ringOf(t, false, good), replace(signed, "\n\nOrigin", "\nSuite: evil\n\nOrigin"), later, "malformed"},
		{"no signature", ringOf(t, false, good), []byte(releaseText), later, "nothing else"},
		{"cut", ringOf(t, false, good), signed[:len(signed)-100], later, "malformed"},
		{"empty", ringOf(t, false, good), nil, later, "nothing else"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, err := VerifyInRelease(tt.ring, tt.data, tt.now)
			if tt.want == "" {
				if err != nil || string(text) != releaseText {
					t.Fatalf("got %q, %v", text, err)
				}
				return
			}
			if err == nil || text != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %d bytes and %v, want an error with %q", len(text), err, tt.want)
			}
		})
	}
}

// weakSigned signs with SHA-224, which the library does not offer for clear text: a detached signature in its frame.
func weakSigned(t *testing.T, key *openpgp.Entity, c *packet.Config) []byte {
	sig := &packet.Signature{SigType: packet.SigTypeText, PubKeyAlgo: key.PrivateKey.PubKeyAlgo, Hash: crypto.SHA224,
		CreationTime: c.Now(), IssuerKeyId: &key.PrimaryKey.KeyId, Version: 4}
	h := crypto.SHA224.New()
	h.Write(bytes.ReplaceAll(bytes.TrimSuffix([]byte(releaseText), []byte("\n")), []byte("\n"), []byte("\r\n")))
	if err := sig.Sign(h, key.PrivateKey, c); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA224\n\n%s", releaseText)
	w, _ := armor.Encode(&out, openpgp.SignatureType, nil)
	if err := sig.Serialize(w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out.WriteByte('\n')
	return out.Bytes()
}

func TestVerifyDetached(t *testing.T) {
	key, other := newKey(t, signTime, 0), newKey(t, signTime, 0)
	for _, armored := range []bool{false, true} {
		var sig bytes.Buffer
		sign := openpgp.DetachSign
		if armored {
			sign = openpgp.ArmoredDetachSign
		}
		if err := sign(&sig, key, strings.NewReader(releaseText), at(signTime)); err != nil {
			t.Fatal(err)
		}
		if err := VerifyRelease(ringOf(t, false, key), []byte(releaseText), sig.Bytes(), signTime); err != nil {
			t.Errorf("armored %v: %v", armored, err)
		}
		var bad *pgp.SignatureError
		if err := VerifyRelease(ringOf(t, false, other), []byte(releaseText), sig.Bytes(), signTime); !errors.As(err, &bad) {
			t.Errorf("armored %v, other key: %v", armored, err)
		}
		if err := VerifyRelease(ringOf(t, false, key), []byte(releaseText+"x"), sig.Bytes(), signTime); !errors.As(err, &bad) {
			t.Errorf("armored %v, other text: %v", armored, err)
		}
	}
	if err := VerifyRelease(ringOf(t, false, key), []byte(releaseText), nil, signTime); err == nil {
		t.Error("an empty signature is good")
	}
}

func TestKeyRingOnly(t *testing.T) {
	a, b := newKey(t, signTime, 0), newKey(t, signTime, 0)
	ring := ringOf(t, false, a, b)
	only := ring.Only([]string{strings.ToLower(fmt.Sprintf("%X", b.PrimaryKey.Fingerprint)) + "!"})
	if _, err := VerifyInRelease(only, clearSign(t, releaseText, at(signTime), a), signTime); err == nil {
		t.Error("the key that was left out still counts")
	}
	if _, err := VerifyInRelease(only, clearSign(t, releaseText, at(signTime), b), signTime); err != nil {
		t.Error(err)
	}
	if !ring.Only([]string{"00"}).Empty() {
		t.Error("an unknown fingerprint keeps keys")
	}
}

func TestParseRelease(t *testing.T) {
	r, err := ParseRelease([]byte(releaseText))
	if err != nil {
		t.Fatal(err)
	}
	if r.Suite != "stable" || r.Codename != "mini" || !r.AcquireByHash || r.AllIsSeparate || len(r.Indexes) != 4 || r.Fields.Get("MD5Sum") != "" {
		t.Errorf("got %+v", r)
	}
	if want := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC); !r.Date.Equal(want) {
		t.Errorf("date %v", r.Date)
	}
	if p, i, ok := r.Packages("main", "amd64"); !ok || p != "main/binary-amd64/Packages.gz" || i.Size != 12084798 {
		t.Errorf("index %q %v %v", p, i, ok)
	} else if ByHash(p, i) != "main/binary-amd64/by-hash/SHA256/6777ea16514725f9427f48c240d92e0a6b8496138e37a1491d8597e66774e309" {
		t.Error(ByHash(p, i))
	}
	if _, _, ok := r.Packages("contrib", "amd64"); ok {
		t.Error("an index that is not listed was found")
	}
	if err := r.Fresh(r.ValidUntil); err != nil {
		t.Error(err)
	}
	if err := r.Fresh(r.ValidUntil.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("got %v", err)
	}
}

func TestParseDate(t *testing.T) {
	want := time.Date(2024, 1, 1, 5, 6, 7, 0, time.UTC)
	for _, s := range []string{"Mon, 01 Jan 2024 05:06:07 GMT", "Mon, 1 Jan 2024 05:06:07 UTC", "Mon, 01 Jan 2024 05:06:07 +0000", "Mon, 01 Jan 2024 06:06:07 +0100"} {
		if got, err := parseDate(s); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "2024-01-01", "Mon, 01 Jan 2024 05:06:07 CET", "Mon, 01 Jan 2024 05:06:07"} {
		if got, err := parseDate(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestParseReleaseRefuses(t *testing.T) {
	const d = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const head = "Date: Sun, 01 Mar 2026 11:00:00 UTC\n"
	for name, text := range map[string]string{
		"no digests":        head,
		"only weak":         head + "MD5Sum:\n 00000000000000000000000000000000 7 Packages\n",
		"no date":           "SHA256:\n " + d + " 1 Packages\n",
		"upwards":           head + "SHA256:\n " + d + " 1 ../../etc/passwd\n",
		"absolute":          head + "SHA256:\n " + d + " 1 /etc/passwd\n",
		"negative size":     head + "SHA256:\n " + d + " -1 Packages\n",
		"huge size":         head + "SHA256:\n " + d + " 99999999999999999999 Packages\n",
		"short digest":      head + "SHA256:\n " + d[1:] + " 1 Packages\n",
		"twice":             head + "SHA256:\n " + d + " 1 Packages\n " + d + " 2 Packages\n",
		"field twice":       head + head + "SHA256:\n " + d + " 1 Packages\n",
		"two stanzas":       head + "\nSHA256:\n " + d + " 1 Packages\n",
		"other time zone":   "Date: Sun, 01 Mar 2026 11:00:00 CET\nSHA256:\n " + d + " 1 Packages\n",
		"bad valid until":   head + "Valid-Until: never\nSHA256:\n " + d + " 1 Packages\n",
		"not a field":       head + "nonsense\nSHA256:\n " + d + " 1 Packages\n",
		"blank in a name":   head + "a b: c\nSHA256:\n " + d + " 1 Packages\n",
		"control in a name": head + "SHA256:\n " + d + " 1 a\x1b[2Jb\n",
	} {
		if r, err := ParseRelease([]byte(text)); err == nil {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

func TestIsDated(t *testing.T) {
	for url, want := range map[string]bool{
		"https://snapshot.example/archive/debian/20240501T000000Z/": true,
		"https://snapshot.example/archive/debian/20240501T000000Z":  true,
		"https://mirror.example/debian":                             false,
		"https://mirror.example/20240501":                           false,
	} {
		if IsDated(url) != want {
			t.Errorf("%s: want %v", url, want)
		}
	}
}

func FuzzRelease(f *testing.F) {
	key := newKey(f, signTime, 0)
	ring := ringOf(f, false, key)
	signed := clearSign(f, releaseText, at(signTime), key)
	f.Add(signed)
	f.Add([]byte(releaseText))
	f.Add(append(signed, signed...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if text, err := VerifyInRelease(ring, data, signTime); err == nil && string(text) != releaseText {
			t.Fatalf("a text that nobody signed is good: %q", text)
		}
		r, err := ParseRelease(data)
		if err != nil {
			return
		}
		for p := range r.Indexes {
			if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") {
				t.Fatalf("location %q", p)
			}
		}
	})
}
