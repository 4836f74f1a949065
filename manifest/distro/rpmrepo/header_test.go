package rpmrepo_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/karapace/karapace/manifest/distro/rpmrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo/rpmrepotest"
)

func value(tag uint32, v any) rpmrepotest.Value { return rpmrepotest.Value{Tag: tag, Value: v} }

// sample has dependencies of all kinds, and files.
func sample(sign func([]byte) []byte) []byte {
	return rpmrepotest.Package("hello", "1.0~rc1", "2.fc41", "x86_64", sign, value(1003, []uint32{3}), value(1004, "says <hello> & more"),
		value(1047, []string{"hello", "greeter"}), value(1112, []uint32{8, 0}), value(1113, []string{"3:1.0~rc1-2.fc41", ""}),
		value(1049, []string{"libc.so.6()(64bit)", "/bin/sh", "rpmlib(X)", "lib"}), value(1048, []uint32{0, 1 << 9, 1<<24 | 10, 12}), value(1050, []string{"", "", "4.0-1", "2:5"}),
		value(1117, []string{"hello", "conf"}), value(1116, []uint32{0, 1}), value(1118, []string{"/usr/bin/", "/etc/"}), value(1037, []uint32{0, 1 << 6}))
}

func TestReadRPM(t *testing.T) {
	file := sample(func([]byte) []byte { return []byte("signature") })
	r := bytes.NewReader(file)
	p, err := ReadRPM(r)
	if err != nil {
		t.Fatal(err)
	}
	h := p.Header
	if h.String(TagName) != "hello" || h.Version() != "3:1.0~rc1-2.fc41" || h.String(TagArch) != "x86_64" || h.Source() || h.Number(TagBuildTime) != 1700000000 {
		t.Errorf("it is %s %s", h.String(TagName), h.Version())
	}
	if fmt.Sprintf("%s", p.Signatures) != "[signature]" || !bytes.Equal(h.Raw, file[p.Start:p.End]) {
		t.Errorf("signatures %q, header at %d to %d", p.Signatures, p.Start, p.End)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "payload of hello" {
		t.Errorf("payload %q", rest)
	}
	if d, ok := h.Payload(); !ok || d.Type != "sha256" || len(d.Value) != 64 {
		t.Errorf("digest %v %v", d, ok)
	}
	if got := fmt.Sprint(h.Files()); got != "[/usr/bin/hello /etc/conf]" {
		t.Error(got)
	}
	if !h.SetNumber(TagBuildTime, 7) || h.Number(TagBuildTime) != 7 || h.SetNumber(TagName, 7) || h.SetNumber(TagInstallTime, 7) {
		t.Error("SetNumber")
	}
}

// What is written of a package is read again, and says what its header says.
func TestWritePrimary(t *testing.T) {
	p, err := ReadRPM(bytes.NewReader(sample(nil)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := WritePrimary(&out, []Entry{{p, "x.rpm", strings.Repeat("1", 64), 77}}); err != nil {
		t.Fatal(err)
	}
	const want = `<format>
<rpm:license></rpm:license>
<rpm:vendor></rpm:vendor>
<rpm:group></rpm:group>
<rpm:sourcerpm>hello-1.0~rc1-2.fc41.src.rpm</rpm:sourcerpm>
<rpm:header-range start="152" end="808"/>
<rpm:provides>
<rpm:entry name="hello" flags="EQ" epoch="3" ver="1.0~rc1" rel="2.fc41"/>
<rpm:entry name="greeter"/>
</rpm:provides>
<rpm:requires>
<rpm:entry name="libc.so.6()(64bit)"/>
<rpm:entry name="/bin/sh" pre="1"/>
<rpm:entry name="lib" flags="GE" epoch="2" ver="5"/>
</rpm:requires>
<file>/usr/bin/hello</file>
<file type="ghost">/etc/conf</file>
</format>
`
	want2 := strings.Replace(want, `start="152" end="808"`, fmt.Sprintf(`start="%d" end="%d"`, p.Start, p.End), 1)
	if !strings.Contains(out.String(), want2) || !strings.Contains(out.String(), "says &lt;hello&gt; &amp; more") {
		t.Error(out.String())
	}
	count := 0
	err = ReadPrimary(&out, func(p *Package) error {
		count++
		if p.Name != "hello" || p.Version != "3:1.0~rc1-2.fc41" || p.Size != 77 || p.Location != "x.rpm" || !p.Provides("greeter") {
			t.Errorf("%+v", p)
		}
		return nil
	})
	if err != nil || count != 1 {
		t.Errorf("%d packages, %v", count, err)
	}
}

func TestHostileRPM(t *testing.T) {
	good := sample(nil)
	change := func(at int, n uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at:], n)
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "no magic": change(0, 0), "no header": change(96, 0), "many entries": change(96+8, 1<<30), "much data": change(96+12, 1<<30),
		"no entries": change(96+8, 0), "offset outside": change(96+16+8, 1<<20), "count outside": change(96+16+12, 1<<20),
		"cut": good[:len(good)-400], "twice": rpmrepotest.Package("a", "1", "1", "noarch", nil, value(1000, "b")),
	} {
		if p, err := ReadRPM(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzRPM(f *testing.F) {
	f.Add(sample(nil))
	f.Add(rpmrepotest.Package("a", "1", "1", "noarch", func([]byte) []byte { return []byte{1} }))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadRPM(bytes.NewReader(b))
		if err != nil {
			return
		}
		p.Header.Version()
		p.Header.Payload()
		WritePrimary(io.Discard, []Entry{{p, "x.rpm", "", 0}})
	})
}
