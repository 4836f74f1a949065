package aptrepo

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// world parses "name version [field value]..." lines.
func world(text string) []*Package {
	var out []*Package
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		part := strings.Split(strings.TrimSpace(line), ";")
		name, version, _ := strings.Cut(strings.TrimSpace(part[0]), " ")
		p := &Package{Name: name, Version: version, Arch: "amd64", Priority: "optional"}
		for _, f := range part[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(f), " ")
			switch k {
			case "needs":
				p.Depends = v
			case "pre":
				p.PreDepends = v
			case "gives":
				p.Provides = v
			case "not":
				p.Conflicts = v
			case "prio":
				p.Priority = v
			case "essential":
				p.Essential = true
			case "arch":
				p.Arch = v
			}
		}
		out = append(out, p)
	}
	return out
}

func TestClosure(t *testing.T) {
	tests := []struct{ name, world, want, err string }{
		{"essential and apt with what they need",
			"base 1; essential; pre awk\nmawk 1; gives awk; prio required\ngawk 1; gives awk\napt 1; needs libc (>= 2)\nlibc 1\nlibc 2; arch all\nother 1",
			"apt=1 base=1 libc=2 mawk=1", ""},
		{"what is chosen already", "apt 1; needs a | b\nb 1; essential\na 1", "apt=1 b=1", ""},
		{"provided by what is chosen", "apt 1; needs a\nb 1; essential; gives a\na 1", "apt=1 b=1", ""},
		{"preferred alternative", "apt 1; needs usrmerge | usr-is-merged\nusrmerge 1\nusr-is-merged 1", "apt=1 usr-is-merged=1", ""},
		{"first alternative that works", "apt 1; needs a | b\na 1; needs gone\nb 1", "apt=1 b=1", ""},
		{"first alternative too old", "apt 1; needs a (>= 2) | b\na 1\nb 1", "apt=1 b=1", ""},
		{"circle", "apt 1; needs a\na 1; needs b\nb 1; needs a", "a=1 apt=1 b=1", ""},
		{"newest of all suites, first of equals", "apt 1\napt 1.1~rc\napt 1.1; needs x\nx 1\napt 1.1", "apt=1.1 x=1", ""},
		{"versioned provision", "apt 1; needs v (>= 2)\np 1; gives v (= 1)\nq 1; gives v (= 3)\nr 1; gives v", "apt=1 q=1", ""},
		{"conflict avoided", "apt 1; needs a | b; not a\na 1\nb 1", "apt=1 b=1", ""},
		{"other architecture", "apt 1; needs a\na 1; arch arm64", "", "apt needs a, which no package index has"},
		{"no apt", "x 1; essential", "", "package apt is in none"},
		{"chain", "apt 1; needs a\na 1; needs b (>= 5) | c\nb 4", "", "apt needs a needs b (>= 5) (the newest is 4) or c, which no package index has"},
		{"bad field", "apt 1; needs a b c", "", "is not a relation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkgs := world(tt.world)
			for range 5 {
				got, err := Closure(pkgs, "amd64", []string{"apt"}, []string{"usr-is-merged"})
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("got %v, want %q", err, tt.err)
					}
					continue
				}
				var text []string
				for _, p := range got {
					text = append(text, p.Name+"="+p.Version)
				}
				if err != nil || strings.Join(text, " ") != tt.want {
					t.Fatalf("got %v, %v, want %s", text, err, tt.want)
				}
			}
		})
	}
}

// TestClosureEnds gives it worlds in which a naive search tries exponentially many ways.
func TestClosureEnds(t *testing.T) {
	var b strings.Builder
	b.WriteString("apt 1; needs a0 | b0\n")
	for i := range 60 {
		for _, n := range []string{"a", "b"} {
			fmt.Fprintf(&b, "%s%d 1; needs a%d | b%d, dead\n", n, i, i+1, i+1)
		}
	}
	if _, err := Closure(world(b.String()), "amd64", []string{"apt"}, nil); err == nil {
		t.Error("a world without an answer was answered")
	}
	b.Reset()
	b.WriteString("apt 1; needs d0\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "d%d 1; needs d%d\n", i, i+1)
	}
	if _, err := Closure(world(b.String()), "amd64", []string{"apt"}, nil); err == nil {
		t.Error("an endless chain was answered")
	}
}

// TestClosureOrderOfInput: the order of the packages decides only between equal versions.
func TestClosureOrderOfInput(t *testing.T) {
	pkgs := world("apt 1; needs v, w | x\np1 1; gives v\np2 1; gives v\np3 1; gives v, w\nx 1\nbase 2; essential\nbase 1")
	want := ""
	for i := range 50 {
		rand.Shuffle(len(pkgs), func(i, j int) { pkgs[i], pkgs[j] = pkgs[j], pkgs[i] })
		got, err := Closure(pkgs, "amd64", []string{"apt"}, nil)
		text := ""
		for _, p := range got {
			text += p.Name + " " + p.Version + ","
		}
		if i == 0 {
			want = text
		}
		if err != nil || text != want {
			t.Fatalf("got %s %v, before %s", text, err, want)
		}
	}
}
