package manifest

import (
	"fmt"
	"strings"
	"testing"
)

// TestSyntaxMessages has the mistakes the command's scripts do not show.
func TestSyntaxMessages(t *testing.T) {
	for text, want := range map[string]string{
		"a = [1, 2":              "1:9: the file ends inside a list",
		"a = [,]":                `1:6: expected a value, found ","`,
		"a = {b = 1 c = 2}":      `1:12: expected , or } in the inline table, found "c"`,
		"a =":                    "1:3: expected a value, found the end of the file",
		"a = 'x":                 "1:6: the text is not closed on its line",
		"a = 'x\n'":              "1:7: the text is not closed on its line",
		"a = \"\"\"x":            "1:8: the text that three quotes open is not closed",
		"a = '''x":               "1:8: the text that three quotes open is not closed",
		"a = \"x\x07\"":          "1:7: there is an invisible control character, U+0007",
		"# \x07":                 "1:3: there is an invisible control character, U+0007",
		"a = 1\rb = 2":           "1:6: expected the end of the line",
		"a = \"\\u12\"":          "1:6: this is no escape sequence",
		"a = \"\\":               "this is no escape sequence",
		"a = 007":                "1:5: a number cannot begin with 0",
		"a = 4G":                 `1:5: "4G" is neither in quotes nor a number`,
		"a = -x":                 `1:5: "-x" is neither in quotes nor a number`,
		"a = 1__0":               "number must have",
		"a = 0x":                 "radix prefix",
		"a = on":                 "1:5: on is not a value",
		"a = off":                "1:5: off is not a value",
		"a = (1)":                `1:5: expected a value, found "("`,
		"[]":                     `1:2: expected a name, found "]"`,
		"[a b]":                  `1:4: the table header is not closed, found "b"`,
		"[[a]":                   "the table header is not closed",
		"[a] [b]":                `1:5: expected the end of the line, found "["`,
		"a":                      "expected = after the name",
		"a b = 1":                `1:3: expected = after the name, found "b"`,
		"= 1":                    `1:1: expected a name, found "="`,
		"ключ = 1":               `1:1: the name begins with "к" and is not in quotes`,
		"a = " + nested(20000):   "nested too deep",
		"======= \n":             "1:1: this is a conflict marker",
		"a = 1\n>>>>>>> theirs":  "2:1: this is a conflict marker",
		"a = 1\na.b = 2":         "2:1: a is defined twice",
		"[a]\nb = 1\n[a.b]":      "3:4: [a.b] is defined twice",
		"[a]\nb = 1\n[a.b.c]":    "3:4: [a.b] is defined twice",
		"a = {}\n[a.b]":          "2:2: [a] is defined twice",
		"[[a]]\n[a]":             "2:2: [a] is defined twice",
		"[a.b]\n[a]\nb.c = 1":    "3:1: b is defined twice",
		"a.b = 1\n[a]":           "2:2: [a] is defined twice",
		"a = [1]\n[[a]]":         "2:3: [a] is defined twice",
		"a = {b = 1, b = 2}":     "1:13: b is defined twice",
		"a = {b.c = 1, b = 2}":   "1:15: b is defined twice",
		"\"x y\" = 1\n'x y' = 2": `2:1: "x y" is defined twice`,
	} {
		d := &document{file: "f", data: []byte(text)}
		d.read(MaxSize)
		err := d.err()
		if err == nil {
			t.Errorf("%.40q is taken", text)
			continue
		}
		first, _, _ := strings.Cut(err.Error(), "\n")
		if !strings.Contains(first, want) || !strings.Contains(err.Error(), "\nhelp: ") {
			t.Errorf("%.40q:\ngot  %s\nwant %s", text, first, want)
		}
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// TestTree has the unusual but correct documents.
func TestTree(t *testing.T) {
	for text, path := range map[string]string{
		"[a.b]\nc = 1\n[a]\nd = 2":                    "a.b.c",
		"a.b.c = 1\na.b.d = 2":                        "a.b.d",
		"[[x]]\na = 1\n[x.y]\nb = 2\n[[x]]\n[x.y]":    "x",
		"a.b = 1\n[a.c]\nd = 1":                       "a.c.d",
		"a = [ # one\n [1, 2], # two\n {b = 'x'},\n]": "a",
		"a = { b = { c = 1 }, d.e = 2 }":              "a.d.e",
		"\"a.b\" = 1":                                 "a.b",
	} {
		d := &document{data: []byte(text)}
		tree := d.read(MaxSize)
		if err := d.err(); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		found := tree.find(path)
		for n, rest := tree, path; found == nil && rest != ""; {
			var key string
			key, rest, _ = strings.Cut(rest, ".")
			e := n.find(key)
			if e == nil {
				break
			}
			if n = e.value; rest == "" {
				found = e
			}
		}
		if found == nil {
			t.Errorf("%s: no %s", text, path)
		}
	}
}

// TestTreeOfManyKeys goes through the index that large tables have.
func TestTreeOfManyKeys(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "key%d = %d\n", i, i)
	}
	d := &document{data: []byte(text.String() + "key7 = 0\n")}
	tree := d.read(MaxSize)
	for i := range 1000 {
		if e := tree.find(fmt.Sprintf("key%d", i)); e == nil || e.value.number != int64(i) {
			t.Fatalf("key%d is %+v", i, e)
		}
	}
	if tree.find("key1000") != nil || len(d.problems) != 1 || d.problems[0].key != "key7" {
		t.Errorf("problems: %+v", d.problems)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"packages", "apps", "gpu", "image"}
	for word, want := range map[string]string{
		"package": "packages", "pakcages": "packages", "app": "apps", "gup": "gpu", "imgae": "image", "Image": "image",
		"x": "", "": "", "completely": "", strings.Repeat("packages", 20): "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
