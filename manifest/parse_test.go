package manifest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

const base = "manifest_version = 1\n[base]\nimage = \"bootstrap:debian/bookworm\"\n"

func parse(t *testing.T, text string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse("karapace.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseEverything(t *testing.T) {
	got := parse(t, `
manifest_version = 1

[base]
image  = "  Ubuntu/24.04 "
arch   = "arm64"
mirror = "https://Mirror.example.org/Ubuntu"

[system]
packages = [" git ", "cmake", "git", "", "g++"] # doubled, padded, empty

[gui]
apps = ["gimp", "ardour"]

[hardware]
gpu = true
audio = true

[mounts]
" work " = "./:/work/"
cache = "~/.cache : /cache : ro"
data = "../data:/srv//Data"
home = "~:/host"

[env]
B = " kept "
A = ""

[runtime]
backend = " OCI "
network_isolation = true

[runtime.resource_limits]
cpu_shares = 512
memory_limit_mb = 4_096
`)
	want := &manifest.Manifest{
		Base:     manifest.Base{Image: "Ubuntu/24.04", Arch: "arm64", Mirror: "https://Mirror.example.org/Ubuntu"},
		Packages: []string{"cmake", "g++", "git"},
		Apps:     []string{"ardour", "gimp"},
		Hardware: manifest.Hardware{GPU: true, Audio: true},
		Mounts: []manifest.Mount{
			{Label: "cache", Host: "~/.cache", Container: "/cache", ReadOnly: true},
			{Label: "data", Host: "../data", Container: "/srv/Data"},
			{Label: "home", Host: "~/", Container: "/host"},
			{Label: "work", Host: "./", Container: "/work"},
		},
		Env:     []manifest.EnvVar{{Name: "A"}, {Name: "B", Value: " kept "}},
		Runtime: manifest.Runtime{Backend: "oci", NetworkIsolation: true, CPUShares: 512, MemoryLimitMB: 4096},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestParseAccepts has what the first karapace accepted, and other spellings of TOML.
func TestParseAccepts(t *testing.T) {
	for _, text := range []string{
		base,
		"manifest_version = 1\n[base]\nimage = \"rolling\"\n",
		"\ufeff" + base,
		strings.ReplaceAll(base, "\n", "\r\n"),
		strings.TrimSuffix(base, "\n"),
		"manifest_version = 1\nbase.image = \"rolling\"\nruntime.resource_limits.cpu_shares = 0\n",
		"manifest_version = 0x1\nbase = { image = 'rolling' }\nsystem = { packages = [\n'git', # why\n] }\n",
		"[runtime.resource_limits]\nmemory_limit_mb = 0\n[base]\nimage = \"\"\"\nrolling\"\"\"\n[runtime]\n" +
			"[hardware]\n[mounts]\n[env]\n[gui]\n[system]\n",
		base + "[mounts]\nworkspace = \"./:/workspace\"\n\"two words\" = \"/a b:/c d\"\n\"ü\" = \"src:/src\"\n",
		base + "[mounts]\na = \"../../x:/a\"\nb = \"/srv/..data:/b\"\nc = \"./..x/y:/c..\"\n",
		base + "[runtime]\nbackend = \"mock\"\n",
		base + "[env]\n_X9 = \"multi\\nline\\ttab \\u0001\"\n",
	} {
		if !strings.Contains(text, "manifest_version") {
			text = "manifest_version = 1\n" + text
		}
		if _, err := manifest.Parse("karapace.toml", []byte(text)); err != nil {
			t.Errorf("%s\nis refused: %v", text, err)
		}
	}
}

func TestParseDefaults(t *testing.T) {
	m := parse(t, base)
	if m.Runtime != (manifest.Runtime{Backend: "namespace"}) || m.Packages != nil || m.Mounts != nil {
		t.Errorf("defaults are %+v", m)
	}
	if zero := parse(t, base+"[runtime.resource_limits]\ncpu_shares = 0\n"); zero.Runtime.CPUShares != 0 {
		t.Errorf("a limit of 0 is %d", zero.Runtime.CPUShares)
	}
}

// TestErrorPlaces checks where the caret stands; the scripts of the command have the whole messages.
func TestErrorPlaces(t *testing.T) {
	for _, c := range []struct{ text, place, key, msg string }{
		{base + "[system]\npackages = [\"a\", # \"-x\"\n  'b',\n  \"-x\"]", "7:3", "system.packages", "option"},
		{base + "[system]\npackages = [[\"a\"], [\"b\", [1]] ]", "5:13", "system.packages", "must be a string, not a list"},
		{base + "[env]\n\"ü\"\t= \"é\", x", "5:10", "", "end of the line"},
		{base + "[env]\nü = \"\"", "5:1", "", "not in quotes"},
		{base + "[env]\nX = { a = 1 }", "5:5", "env.X", "must be a string, not a table"},
		{base + "[env]\nX = 1979-05-27", "5:5", "env.X", "not a fraction or date"},
		{base + "[env]\nX = \"a\\u0000b\"", "5:1", "env.X", "NUL"},
		{base + "[env]\nX = \"" + strings.Repeat("x", 128<<10) + "\"", "5:1", "env.X", "128 KiB"},
		{base + "[hardware]\ngpu.x = true\n", "5:1", "hardware.gpu", "must be true or false, not a table"},
		{base + "[runtime.resource_limits]\ncpu_shares = 99999999999999999999\n", "5:14", "", "too large"},
		{base + "[runtime]\nresource_limits = 5\n", "5:19", "runtime.resource_limits", "must be a table"},
		{"hardware = { gpu = true, gpu = false }\n" + base, "1:26", "gpu", "defined twice"},
		{base + "[system]\n[runtime.resource_limits]\n[[runtime.resource_limits]]\n", "6:11", "runtime.resource_limits", "defined twice"},
		{base + "[mounts]\n\"\" = \"./:/x\"\n", "5:6", `mounts.""`, "label"},
		{base + "[mounts]\nx = \"./:/x\u202e\"\n", "5:5", "mounts.x", "invisible"},
		{base + "[mounts]\nx = \":/x\"\n", "5:5", "mounts.x", "host path is empty"},
		{base + "[mounts]\nx = \"a/../../b:/x\"\n", "5:5", "mounts.x", ".. inside"},
		{base + "[mounts]\nx = \"/home/../etc:/x\"\n", "5:5", "mounts.x", ".. inside"},
		{base + "[mounts]\nx = \"./:/dev\"\n", "5:5", "mounts.x", "kernel"},
		{base + "[mounts]\nx = \"./://sys/fs\"\n", "5:5", "mounts.x", "kernel"},
		{base + "\x00", "4:1", "", "0x00"},
		{base + "# \xff", "4:3", "", "0xff"},
		{base + strings.Repeat("a.", 200000) + "b = 1\n" + "a = 2\n", "4:1", "base.a", "unknown key a"},
	} {
		_, err := manifest.Parse("f", []byte(c.text))
		var first *manifest.Error
		if !errors.As(err, &first) {
			t.Errorf("%.200q: %v", c.text, err)
			continue
		}
		if place := fmt.Sprintf("%d:%d", first.Line, first.Column); place != c.place || first.Key != c.key || !strings.Contains(first.Msg, c.msg) {
			t.Errorf("%.200q:\ngot  %s %s %s\nwant %s %s %s", c.text, place, first.Key, first.Msg, c.place, c.key, c.msg)
		}
		if first.Remedy == "" {
			t.Errorf("%.200q: no remedy", c.text)
		}
	}
}

func TestParseBoundsSize(t *testing.T) {
	padding := strings.Repeat("#", manifest.MaxSize-len(base))
	if _, err := manifest.Parse("f", []byte(base+padding)); err != nil {
		t.Errorf("a manifest of 1 MiB: %v", err)
	}
	_, err := manifest.Parse("f", []byte(base+padding+"#"))
	const want = "f: the file has 1048577 bytes; at most 1048576 are read\nhelp: check that this is the right file"
	if err == nil || err.Error() != want {
		t.Errorf("a larger one: %v", err)
	}
}

func TestErrorsAreCapped(t *testing.T) {
	text := base + "[hardware]\n"
	for i := range 25 {
		text += fmt.Sprintf("key%d = 1\n", i)
	}
	_, err := manifest.Parse("f", []byte(text))
	var several *manifest.Errors
	if !errors.As(err, &several) || len(several.List) != 10 || several.More != 15 {
		t.Fatalf("got %v", err)
	}
	for i, one := range several.List {
		if one.Line != 5+i {
			t.Errorf("error %d is about line %d", i, one.Line)
		}
	}
	if !strings.HasSuffix(err.Error(), "\n\nand 15 more") {
		t.Errorf("the text does not say that there are more: %v", err)
	}
}

// TestErrorTextIsSafe checks that a hostile file can neither flood a terminal nor send it escape sequences.
func TestErrorTextIsSafe(t *testing.T) {
	for _, text := range []string{
		base + "[env]\nX = \"\x1b]0;gotcha\x07\"\n",
		base + strings.Repeat("x", 1<<19) + " = 1",
		base + "[system]\npackages = [" + strings.Repeat(`"a", `, 1<<17) + `"-x` + strings.Repeat("y", 1<<17) + "\"]",
		base + "[system]\npackages = [\"a\u202eb\"]",
	} {
		_, err := manifest.Parse("f", []byte(text))
		if err == nil {
			t.Errorf("%.100q is accepted", text)
			continue
		}
		if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\x1b\x07\u202e") {
			t.Errorf("%.100q: %d bytes: %.1200q", text, len(s), s)
		}
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := manifest.Parse(file, data)
		if err != nil {
			t.Error(err)
			continue
		}
		if filepath.Base(file) == "reference.toml" && hasZero(reflect.ValueOf(*m)) {
			t.Errorf("%s does not set everything: %+v", file, m)
		}
	}
}

// hasZero reports whether a field of a manifest is unset. Network isolation and read-only are shown at their default.
func hasZero(v reflect.Value) bool {
	if v.Kind() != reflect.Struct {
		return v.IsZero()
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "NetworkIsolation" && hasZero(v.Field(i)) {
			return true
		}
	}
	return false
}

// TestTemplates keeps the examples of the templates' names the same as the templates.
func TestTemplates(t *testing.T) {
	var names []string
	for _, s := range manifest.Templates() {
		names = append(names, s.Name)
		parse(t, s.Text)
		if text, err := manifest.Template(s.Name); err != nil || text != s.Text || s.Summary == "" {
			t.Errorf("template %s: %v", s.Name, err)
		}
		file := filepath.Join("../examples", s.Name+".toml")
		if *update {
			if err := os.WriteFile(file, []byte(s.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != s.Text {
			t.Errorf("%s is not the template (go test -update writes it): %v", file, err)
		}
	}
	if got := strings.Join(names, " "); got != "minimal dev gui-dev rust-dev ubuntu-dev" {
		t.Errorf("templates are %s", got)
	}
	if _, err := manifest.Template("rust"); err == nil || !strings.Contains(err.Error(), "rust-dev") {
		t.Errorf("an unknown template: %v", err)
	}
}
