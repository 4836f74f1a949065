package distrobox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a box includes comes before its own, and what several boxes include is there for each.
func TestInclude(t *testing.T) {
	boxes, err := Parse("[a]\nvolume=/a:/a\nimage=x\n[b]\ninclude=a\nimage=y\nvolume=/b:/b\n[c]\ninclude=a\n[d]\ninclude=b c\nvolume=/d:/d\n")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/a:/a", "/a:/a /b:/b", "/a:/a", "/a:/a /a:/a /b:/b /d:/d"} {
		if got := strings.Join(boxes[i].words("volume"), " "); got != want {
			t.Errorf("%s: %s, want %s", boxes[i].Name, got, want)
		}
	}
	if got := boxes[3].last("image"); got != "y" {
		t.Errorf("the image is %s", got)
	}
}

// A small file cannot ask for more than there is memory for.
func TestIncludeBounded(t *testing.T) {
	doubled, chain := []string{"[b0]", "additional_packages=a"}, []string{"[b0]", "additional_packages=a"}
	all, names := slices.Clone(chain), []string{"b0"}
	for i := 1; i < 60; i++ {
		box, before := fmt.Sprintf("[b%d]", i), fmt.Sprintf("b%d", i-1)
		doubled = append(doubled, box, "include="+before+" "+before)
		all = append(all, box, "include="+strings.Join(names, " "))
		names = append(names, fmt.Sprintf("b%d", i))
	}
	for i := 1; i < 40000; i++ {
		chain = append(chain, fmt.Sprintf("[b%d]", i), "a=", fmt.Sprintf("include=b%d", i-1))
	}
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{doubled, `box "b1" of line 3 includes "b0" twice; once is enough`},
		{all, "what the boxes of this file include has more than 4194304 bytes; split the file, or include less"},
		{chain, "has more than 4194304 bytes"},
		{[]string{"[a]", "include=b", "[b]", "include=a"}, `box "b" of line 3 includes "a", which includes it`},
		{[]string{"[a]", "include=a"}, `box "a" of line 1 includes "a", which is no other box`},
	} {
		if _, err := Parse(strings.Join(c.lines, "\n")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
