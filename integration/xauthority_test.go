package integration

import "testing"

// Of an authority file only the keys of the display come in, for every host name.
func TestAuthority(t *testing.T) {
	record := func(family, host, display, key string) string {
		text := family
		for _, f := range []string{host, display, "MIT-MAGIC-COOKIE-1", key} {
			text += string([]byte{0, byte(len(f))}) + f
		}
		return text
	}
	const local, wild, internet = "\x01\x00", "\xff\xff", "\x00\x00"
	file := record(local, "host", "0", "this") + record(local, "host", "1", "other") + record(internet, "\x7f\x00\x00\x01", "0", "far") + record(wild, "", "", "all")
	got, err := Authority([]byte(file), "0")
	if want := record(wild, "", "0", "this") + record(wild, "", "", "all"); err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for n := 1; n < len(record(local, "host", "0", "this")); n++ {
		if _, err := Authority([]byte(file[:n]), "0"); err == nil {
			t.Errorf("accepted what is cut off after %d bytes", n)
		}
	}
}
