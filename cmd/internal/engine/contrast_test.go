package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/cmd/internal/probe"
)

// Facts are the same only if every backend has them, with one value; what differs names who has what.
func TestContrast(t *testing.T) {
	fact := func(s string) probe.Fact {
		f := strings.Split(s, "|")
		return probe.Fact{Group: f[0], Name: f[1], Value: f[2]}
	}
	same, got := contrast([]string{"a", "b", "c"}, map[string][]probe.Fact{
		"a": {fact("ids|uid|1"), fact("mounts|/x|ro"), fact("ids|gid|7")},
		"b": {fact("ids|uid|1"), fact("ids|gid|7"), fact("env|N|")},
		"c": {fact("ids|uid|1"), fact("mounts|/x|rw"), fact("ids|gid|8")},
	})
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"group":"env","name":"N","values":{"a":null,"b":"","c":null}},` +
		`{"group":"ids","name":"gid","values":{"a":"7","b":"7","c":"8"}},` +
		`{"group":"mounts","name":"/x","values":{"a":"ro","b":null,"c":"rw"}}]`
	if same != 1 || string(text) != want {
		t.Errorf("%d the same, and\n%s\nwant\n%s", same, text, want)
	}
	if same, got := contrast([]string{"a"}, map[string][]probe.Fact{"a": {fact("ids|uid|1")}}); same != 1 || len(got) != 0 {
		t.Errorf("one backend differs from itself: %v", got)
	}
}

func TestMedians(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	if got := medians([][3]time.Duration{{ms(9), 0, ms(1)}, {ms(1), ms(4), ms(2)}, {ms(2), ms(2), ms(100)}}); got != (Times{2, 2, 2}) {
		t.Errorf("%+v", got)
	}
	if got := medians([][3]time.Duration{{ms(1), 0, 0}, {ms(2), 0, 0}}); got.Start != 1.5 || got.Total() != 1.5 {
		t.Errorf("%+v", got)
	}
	if got := medians(nil); got != (Times{}) {
		t.Errorf("%+v", got)
	}
}

// A report that the command inside has spoilt is an error, however large it is.
func TestReadReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report")
	for _, text := range []string{"", "{}", "null", "[", `{"began":1`, `{"began":"x"}`, `{"facts":"` + strings.Repeat("x", reportLimit)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := readReport(path); err == nil {
			t.Errorf("%.20q is %+v", text, r)
		}
	}
}

// Of what a command prints the beginning is kept, and it is never held up.
func TestCapture(t *testing.T) {
	c, err := newCapture()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := c.w.WriteString(strings.Repeat("x", 10_000) + "\xff"); err != nil {
			t.Fatal(err)
		}
	}
	got := c.text()
	if len(got) < captureLimit || len(got) > captureLimit+64 || !strings.HasSuffix(got, "(and more)") || strings.Contains(got, "\xff") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-20:])
	}
}
