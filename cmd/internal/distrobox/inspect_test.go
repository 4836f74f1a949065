package distrobox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A mount comes into the manifest as it is, blanks and all, or is told to be left out.
func TestVolumes(t *testing.T) {
	for _, c := range []struct{ source, destination, volume, left string }{
		{"/srv", "/data", "/srv:/data:ro", ""},
		{"/home/u/My Files", "/data", "/home/u/My Files:/data:ro", ""},
		{`/srv/"a"`, `/da\ta`, `/srv/"a":/da\ta:ro`, ""},
		{"/srv", "/a:b", "", "volume=/srv:/a:b:ro"},
		{"/srv/a:ro", "/data", "", "volume=/srv/a:ro:/data:ro"},
		{"/srv ", "/data", "", "volume=/srv :/data:ro"},
		{"/srv", "/proc/x", "", "volume=/srv:/proc/x:ro"},
		{"/srv/a\x01", "/data", "", "volume=/srv/a\x01:/data:ro"},
	} {
		text := fmt.Sprintf(`[{"Name": "box", "Config": {"Image": "debian", "Labels": {"manager": "distrobox"}},
			"Mounts": [{"Type": "bind", "Source": %s, "Destination": %s}]}]`, quoted(c.source), quoted(c.destination))
		b, err := FromInspect([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		m, left, err := b.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if c.left != strings.Join(left, " ") {
			t.Errorf("%q: left out %q, want %q", c.source, left, c.left)
		}
		lines := strings.Split(m, "\n")
		if has := slices.Contains(lines, "volume1 = "+strconv.Quote(c.volume)); has != (c.volume != "") || strings.Contains(m, "volume2") {
			t.Errorf("%q: the manifest is\n%s", c.source, m)
		}
	}
}

// quoted is a string of JSON.
func quoted(s string) string {
	return strings.ReplaceAll(strconv.Quote(s), `\x01`, `\u0001`)
}
