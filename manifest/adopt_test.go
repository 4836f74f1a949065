package manifest

import (
	"reflect"
	"strings"
	"testing"
)

// Packages are added as the list is written, and nothing else changes.
func TestWithPackages(t *testing.T) {
	const head = "manifest_version = 1 # one\n[base]\nimage = \"./a.tar\"\n"
	for _, c := range [][2]string{
		{head, head + "\n[system]\npackages = [\"new\", \"xy\"]\n"},
		{strings.TrimSuffix(head, "\n"), head + "\n[system]\npackages = [\"new\", \"xy\"]\n"},
		{head + "[system]\n", head + "[system]\npackages = [\"new\", \"xy\"]\n"},
		{head + "[system] # theirs", head + "[system] # theirs\npackages = [\"new\", \"xy\"]"},
		{head + "[system]\npackages = []\n[env]\n", head + "[system]\npackages = [\"new\", \"xy\"]\n[env]\n"},
		{head + "[ system ]\npackages=[ 'git' ]#c", head + "[ system ]\npackages=[ 'git', \"new\", \"xy\" ]#c"},
		{head + "[system]\npackages = [\"git\", \"a\",] # why\n", head + "[system]\npackages = [\"git\", \"a\", \"new\", \"xy\",] # why\n"},
		{head + "[system]\npackages = [\n\t\"git\", # vcs\n\t\"a\", # last, \"x\"\n\t# end\n]\n", head + "[system]\npackages = [\n\t\"git\", # vcs\n\t\"a\", # last, \"x\"\n\t\"new\",\n\t\"xy\",\n\t# end\n]\n"},
		{head + "[system]\npackages = [\n    \"git\",\n    \"a\"  # last\n]\n", head + "[system]\npackages = [\n    \"git\",\n    \"a\",  # last\n    \"new\",\n    \"xy\"\n]\n"},
		{head + "[system]\npackages = [\"git\"\n  , # odd\n]\n", head + "[system]\npackages = [\"git\"\n  , # odd\n  \"new\",\n  \"xy\",\n]\n"},
		{head + "[system]\npackages = [\"git\", # first\n]\n", head + "[system]\npackages = [\"git\", # first\n  \"new\",\n  \"xy\",\n]\n"},
		{head + "[system]\npackages = [\n  # none yet\n]\n", head + "[system]\npackages = [\n  # none yet\n  \"new\",\n  \"xy\",\n]\n"},
		{head + "[system]\npackages = [\n  \"xy\", \"a\"]\n", head + "[system]\npackages = [\n  \"xy\", \"a\", \"new\"]\n"},
		{"manifest_version = 1\nsystem.packages = [\"git\"]\nbase.image = \"./a\"", "manifest_version = 1\nsystem.packages = [\"git\", \"new\", \"xy\"]\nbase.image = \"./a\""},
		{"manifest_version = 1\nsystem = {}\nbase.image = \"./a\"", "manifest_version = 1\nsystem = { packages = [\"new\", \"xy\"] }\nbase.image = \"./a\""},
		{"manifest_version = 1\nsystem = { packages = ['xy'] }\nbase.image = \"./a\"", "manifest_version = 1\nsystem = { packages = ['xy', \"new\"] }\nbase.image = \"./a\""},
		{"\xef\xbb\xbfmanifest_version = 1\r\nbase.image = \"./a\"\r\n[system]\r\npackages = [\r\n  \"a\"\r\n]\r\n",
			"\xef\xbb\xbfmanifest_version = 1\r\nbase.image = \"./a\"\r\n[system]\r\npackages = [\r\n  \"a\",\r\n  \"new\",\r\n  \"xy\"\r\n]\r\n"},
		{head + "[system]\npackages = ['xy', \"new\"]", head + "[system]\npackages = ['xy', \"new\"]"},
		{head + "[system]\npackages = [\"\"\"a\"\"\", '''b''']", head + "[system]\npackages = [\"\"\"a\"\"\", '''b''', \"new\", \"xy\"]"},
	} {
		got, err := WithPackages("m.toml", []byte(c[0]), []string{"new", "xy"})
		if err != nil {
			t.Errorf("%q: %v", c[0], err)
			continue
		}
		if string(got) != c[1] {
			t.Errorf("%q becomes\n\t%q, want\n\t%q", c[0], got, c[1])
		}
	}
	for _, bad := range []string{"-o", "a b", ""} {
		if got, err := WithPackages("m.toml", []byte(head), []string{bad}); err == nil {
			t.Errorf("%q is added: %q", bad, got)
		}
	}
}

// Whatever is a manifest stays one, with the packages added and nothing else changed.
func FuzzWithPackages(f *testing.F) {
	for _, seed := range []string{
		"manifest_version = 1\nbase.image = './a'", "manifest_version = 1\n[base]\nimage = './a'\n[system]\npackages = [\n # none\n 'a' # b\n , ]",
		"manifest_version = 1\r\nbase = {image = './a'}\r\nsystem = { packages = [ ] }",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before, err := Parse("m.toml", text)
		if err != nil {
			return
		}
		out, err := WithPackages("m.toml", text, []string{"new", "xy"})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		after, err := Parse("m.toml", out)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, out, err)
		}
		before.Packages = after.Packages
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q becomes %q", text, out)
		}
		again, err := WithPackages("m.toml", out, []string{"xy", "new"})
		if err != nil || string(again) != string(out) {
			t.Fatalf("%q becomes %q the second time, %v", out, again, err)
		}
	})
}
