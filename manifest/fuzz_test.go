package manifest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// FuzzParse checks that no text makes Parse panic, that errors have a place inside the text and a remedy, that what is
// accepted is TOML to an independent reader too, and that a manifest is normalised.
func FuzzParse(f *testing.F) {
	for _, s := range Templates() {
		f.Add([]byte(s.Text))
	}
	f.Add([]byte("manifest_version = 1\nbase.image = 'rolling'\n[mounts]\na = \"./:/a\"\n[[x.y]]\n[x.y.z]\nq = {a.b = [1,[2]]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &document{data: data}
		if tree := d.read(MaxSize); tree != nil && len(d.problems) == 0 {
			var other map[string]any
			if err := toml.Unmarshal(d.data, &other); err != nil && !hasOther(tree) {
				t.Errorf("accepted as TOML, which it is not: %v", err)
			}
		}
		m, err := Parse("f", data)
		if err != nil {
			checkErrors(t, data, err)
			return
		}
		c := *m
		c.Packages, c.Apps = sortedNames(m.Packages), sortedNames(m.Apps)
		if !reflect.DeepEqual(c, *m) {
			t.Errorf("not normalised: %+v", m)
		}
	})
}

// hasOther reports whether the tree has a value of a type no document has: dates are not looked into.
func hasOther(n *node) bool {
	if n.kind == kindOther {
		return true
	}
	for _, e := range n.entries {
		if hasOther(e.value) {
			return true
		}
	}
	for _, e := range n.list {
		if hasOther(e) {
			return true
		}
	}
	return false
}

func sortedNames(names []string) []string {
	for i := 1; i < len(names); i++ {
		if names[i-1] >= names[i] {
			return nil
		}
	}
	return names
}

func checkErrors(t *testing.T, data []byte, err error) {
	t.Helper()
	list := []*Error{}
	switch e := err.(type) {
	case *Error:
		list = append(list, e)
	case *Errors:
		list = e.List
	default:
		t.Fatalf("error of type %T", err)
	}
	lines := strings.Split(string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))), "\n")
	last := 0
	for _, e := range list {
		if e.Remedy == "" || e.Msg == "" || len(e.Error()) > 2000 {
			t.Errorf("poor error: %+v", e)
		}
		if e.Line < last || e.Line > len(lines) || e.Line > 0 && (e.Column < 1 || e.Column > len(lines[e.Line-1])+1) {
			t.Errorf("error is nowhere, or out of order: %d:%d of %d lines", e.Line, e.Column, len(lines))
		}
		last = e.Line
	}
}

// FuzzParseLock checks that a text ParseLock takes is the one its lock encodes to.
func FuzzParseLock(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "full.lock"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(lockHeader + "lock_version = 2\narch = \"amd64\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock("f", data)
		if err != nil {
			checkErrors(t, data, err)
			return
		}
		if !bytes.Equal(l.Encode(), data) {
			t.Errorf("two texts of one lock:\n%s\n%s", data, l.Encode())
		}
		if err := l.Validate(); err != nil {
			t.Errorf("read, but not valid: %v", err)
		}
	})
}

// valuesFrom cuts fuzzed text into values, so that the fuzzer can move the borders between them.
type valuesFrom struct{ parts []string }

func (v *valuesFrom) text() string {
	if len(v.parts) == 0 {
		return ""
	}
	s := v.parts[0]
	v.parts = v.parts[1:]
	return s
}

func (v *valuesFrom) number() int64 {
	var n int64
	for _, c := range []byte(v.text()) {
		n = n*131 - int64(c)
	}
	return n
}

func (v *valuesFrom) truth() bool { return len(v.text())%2 == 1 }

func someOf[T any](v *valuesFrom, each func() T) []T {
	var list []T
	for n := len(v.text()) % 4; n > 0; n-- {
		list = append(list, each())
	}
	return list
}

func (v *valuesFrom) mount() Mount { return Mount{v.text(), v.text(), v.text(), v.truth()} }
func (v *valuesFrom) env() EnvVar  { return EnvVar{v.text(), v.text()} }
func (v *valuesFrom) pkg() Package {
	return Package{v.text(), v.text(), v.text(), v.text(), v.text(), v.number(), v.truth(), v.text()}
}
func (v *valuesFrom) repository() Repository {
	return Repository{v.text(), v.text(), v.text(), v.text(), v.number()}
}
func (v *valuesFrom) volatile() VolatilePath { return VolatilePath{v.text(), v.text()} }

func (v *valuesFrom) manifest() *Manifest {
	return &Manifest{
		Base: Base{v.text(), v.text(), v.text()}, Packages: someOf(v, v.text), Apps: someOf(v, v.text),
		Hardware: Hardware{v.truth(), v.truth()}, Mounts: someOf(v, v.mount), Env: someOf(v, v.env),
		Runtime: Runtime{v.text(), v.truth(), v.number(), v.number()},
	}
}

// FuzzManifestIdentity decodes every encoding back to the value it came from.
func FuzzManifestIdentity(f *testing.F) {
	f.Add("rolling|||xx|git|vim|||x|x|a|b|c||namespace|x|1|2")
	f.Add("|\x00|\x01|x|aapp:b|xx|a|b")
	f.Fuzz(func(t *testing.T, text string) {
		m := (&valuesFrom{strings.Split(text, "|")}).manifest()
		back, err := decodeManifest(m.canonical())
		if err != nil || !reflect.DeepEqual(m, back) {
			t.Errorf("%+v\ngives back %+v, %v", m, back, err)
		}
	})
}

// FuzzLockIdentity decodes every encoding back, and checks that one of another length or domain is never accepted.
func FuzzLockIdentity(f *testing.F) {
	f.Add("amd64|1|debian|loc|sha256:x|1|namespace|x||x|1|2|x|l|h|c|x|x|n|v|xx|a|b|x|app|x|loc|s|c|sha|d|x|n|v|a|l|s|9|x")
	f.Add("amd64|1|debian|loc|sha256:x|1|namespace|x||x|1|2|||||||x|n|v|a|l|s|9|x|signature||")
	f.Add("|\x00")
	f.Fuzz(func(t *testing.T, text string) {
		v := &valuesFrom{strings.Split(text, "|")}
		l := &Lock{
			Arch: v.text(), SourceDateEpoch: v.number(), BaseImage: v.text(), BaseImageLocation: v.text(),
			BuildEnvironment: v.number(), Backend: v.text(), Hardware: Hardware{v.truth(), v.truth()},
			NetworkIsolation: v.truth(), CPUShares: v.number(), MemoryLimitMB: v.number(),
			Mounts: someOf(v, v.mount), Env: someOf(v, v.env), Requested: someOf(v, v.text), Apps: someOf(v, v.text),
			Repositories: someOf(v, v.repository), BasePackages: someOf(v, v.pkg), Packages: someOf(v, v.pkg),
			Volatile: someOf(v, v.volatile),
		}
		encoded := l.canonical()
		back, err := decodeLock(encoded)
		if err != nil || !reflect.DeepEqual(l, back) {
			t.Errorf("%+v\ngives back %+v, %v", l, back, err)
		}
		if _, err := decodeLock(encoded[:len(encoded)-1]); err == nil {
			t.Error("a prefix is an encoding too")
		}
		if _, err := decodeManifest(encoded); err == nil {
			t.Error("a lock reads as a manifest")
		}
		if l.Validate() == nil {
			if back, err := ParseLock("f", l.Encode()); err != nil || back.ID() != l.ID() {
				t.Errorf("a valid lock is not read back: %v", errors.Unwrap(err))
			}
		}
	})
}
