package cdiyaml

import (
	"encoding/json"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\n":                               `{"a":"b"}`,
		"---\n# c\na: 'b c' \n\nd: \"\"":       `{"a":"b c","d":""}`,
		"a:\n- b\n- c: d\n  e: f\ng:":          `{"a":["b",{"c":"d","e":"f"}],"g":null}`,
		"a:\n  - - b\n    - c\n  - d":          `{"a":[["b","c"],"d"]}`,
		"- a # b\n- c#d\n- {}\n- []\n-   e: ~": `["a","c#d",{},[],{"e":null}]`,
		"'a': b::c\nd: # e\n  f: /g:h":         `{"a":"b::c","d":{"f":"/g:h"}}`,
	} {
		value, err := Parse([]byte(text))
		got, _ := json.Marshal(value)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "# a\n", "a", "a: b\nc", "a: b\n  c: d", "a:\n    b: c\n  d: e", "- a\n b: c", "a: [b]", "a: {b: c}", "a: &b c", "a: *b", "a: !b c", "a: |\n  b", "a: b: c",
		"<<: a", "? a", "a: \"b\\n\"", "a: 'b''c'", "a: 'b", "a: \"b\" c", "\ta: b", "a:\tb", "%YAML 1.2\n---\na: b", "a: b\n...\n", "-\n  a: b", "\"", "'a", ": b", "-\x00",
	} {
		if value, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was taken as %v", text, value)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a:\n- b\n- c: 'd'\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = Parse(text) })
}
