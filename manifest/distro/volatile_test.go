package distro

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

const testEpoch = 1_700_000_000 // day 19675

func TestRewrites(t *testing.T) {
	for name, c := range map[string]struct {
		f         func([]byte, int64) ([]byte, error)
		old, want string
	}{
		"machine-id": {emptied, "0123456789abcdef\n", ""},
		"shadow": {shadowDays, "root:*:19000:0:99999:7:::\nnew:!:21180::::::\nday:!:19675::::::\nnone:!::::::\nbad\n",
			"root:*:19000:0:99999:7:::\nnew:!:19675::::::\nday:!:19675::::::\nnone:!::::::\nbad\n"},
		"zypper":              {withoutComments, "# generated Mon Nov 23\nlibx\n#\nliby", "libx\nliby"},
		"pacman":              {installDate, "%NAME%\nfoo\n\n%INSTALLDATE%\n1763900000\n\n%SIZE%\n1\n", "%NAME%\nfoo\n\n%INSTALLDATE%\n1700000000\n\n%SIZE%\n1\n"},
		"pacman without date": {installDate, "%NAME%\n%INSTALLDATE%", "%NAME%\n%INSTALLDATE%"},
		"info": {sortInfo, "This is the top\n\n* Menu:\n\nUtilities\n* Zed: (z).   last\n* Bash: (b).\n    Shell.\n\nBasics\n* One: (o).\n",
			"This is the top\n\n* Menu:\n\nBasics\n* One: (o).\n\nUtilities\n* Bash: (b).\n    Shell.\n* Zed: (z).   last\n"},
		"info without menu": {sortInfo, "nothing\n", "nothing\n"},
		"info empty menu":   {sortInfo, "top\n* Menu:\n", "top\n* Menu:\n"},
		"no java store":     {javaStore, "PKCS12 or what else", "PKCS12 or what else"},
		"damaged java store": {javaStore, "\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("x", 20),
			"\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("x", 20)},
	} {
		got, err := c.f([]byte(c.old), testEpoch)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, error %v; want %q", name, got, err, c.want)
		}
		again, err := c.f(got, testEpoch)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s is not stable: %q, error %v", name, again, err)
		}
	}
}

func jks(entries ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"), uint32(len(entries)))
	b = append(b, slices.Concat(entries...)...)
	return append(b, javaSum(b)...)
}

func jksEntry(alias string, millis uint64, cert string) []byte {
	b := binary.BigEndian.AppendUint32(nil, 2)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(alias))), alias...)
	b = binary.BigEndian.AppendUint64(b, millis)
	b = append(binary.BigEndian.AppendUint16(b, 5), "X.509"...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(cert))), cert...)
}

func TestJavaStore(t *testing.T) {
	a, err := javaStore(jks(jksEntry("zeta", 1, "Z"), jksEntry("alpha", 2, "AA")), testEpoch)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := javaStore(jks(jksEntry("alpha", 99, "AA"), jksEntry("zeta", 98, "Z")), testEpoch)
	if !bytes.Equal(a, b) {
		t.Errorf("the same certificates gave\n%x\n%x", a, b)
	}
	if want := jks(jksEntry("zeta", testEpoch*1000, "Z"), jksEntry("alpha", testEpoch*1000, "AA")); !bytes.Equal(a, want) {
		t.Errorf("store\n%x\nwant\n%x", a, want)
	}
	key := jksEntry("key", 1, "K")
	key[3] = 1
	good := jks(jksEntry("alpha", 1, "AA"))
	cut := append(slices.Clone(good[:30]), javaSum(good[:30])...)
	for name, odd := range map[string][]byte{"private key": jks(key), "cut entry": cut} {
		if got, err := javaStore(odd, testEpoch); err != nil || !bytes.Equal(got, odd) {
			t.Errorf("%s was touched: %x, error %v", name, got, err)
		}
	}
}

func TestVolatileTables(t *testing.T) {
	for name, v := range map[string]Volatile{"apt": VolatileLayer("apt"), "dnf": VolatileLayer("dnf"), "zypper": VolatileLayer("zypper"),
		"pacman": VolatileLayer("pacman"), "base": VolatileBase(false), "bootstrapped": VolatileBase(true)} {
		seen := map[string]bool{}
		for _, p := range v.Drop {
			if seen[p] || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || !strings.Contains(p, "/") {
				t.Errorf("%s: pattern %q stands twice or is malformed", name, p)
			}
			seen[p] = true
		}
		for _, r := range v.Rewrites {
			if seen[r.Pattern] || r.Func == nil {
				t.Errorf("%s: %q stands twice or does nothing", name, r.Pattern)
			}
			seen[r.Pattern] = true
		}
		if !seen["etc/machine-id"] || !seen["etc/ssh/ssh_host_*_key"] {
			t.Errorf("%s keeps the identity of a machine", name)
		}
	}
	if a, b := VolatileLayer("unknown"), VolatileLayer("apt"); len(a.Drop) >= len(b.Drop) {
		t.Error("apt adds nothing")
	}
}
