package builder

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest/distro"
)

// packages reads lists like "a=1 b:i386=2! c=3?": ! is asked for by name, ? is only guessed to be.
func packages(text string) (out []distro.Installed) {
	for f := range strings.FieldsSeq(text) {
		name, version, _ := strings.Cut(f, "=")
		name, arch, _ := strings.Cut(name, ":")
		p := distro.Installed{Name: name, Arch: arch, Version: strings.TrimRight(version, "!?")}
		p.Guessed = strings.HasSuffix(version, "?")
		p.Explicit = p.Guessed || strings.HasSuffix(version, "!")
		out = append(out, p)
	}
	return out
}

func TestComparePackages(t *testing.T) {
	for _, c := range []struct {
		was, is string
		want    []string
	}{
		{"", "", nil},
		{"a=1 b=2!", "b=2! a=1", nil},
		{"a=1", "a=1 b=1! c=1", []string{"b  installed  1 true", "c  installed  1 false"}},
		{"a=1 b=2!", "a=1", []string{"b  removed 2  true"}},
		{"a=1 b=2", "a=2 b=1", []string{"a  upgraded 1 2 false", "b  downgraded 2 1 false"}},
		{"a=1 b=1 c=1!", "a=1! b=1? c=1", []string{"a  marked 1 1 true"}},
		{"a=A", "a=a", []string{"a  changed A a false"}},
		{"a:x=1", "a:y=1", []string{"a x removed 1  false", "a y installed  1 false"}},
		{"k=1 k=2", "k=2 k=3", []string{"k  installed  3 false", "k  removed 1  false"}},
		{"k=1", "k=1 k=2", []string{"k  installed  2 false"}},
		{"k=1 k=2", "k=2", []string{"k  removed 1  false"}},
	} {
		var got []string
		for _, p := range comparePackages(packages(c.was), packages(c.is), func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
			got = append(got, fmt.Sprintf("%s %s %s %s %s %v", p.Name, p.Arch, p.Change, p.Old, p.New, p.Explicit))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q to %q: %q, want %q", c.was, c.is, got, c.want)
		}
	}
}
