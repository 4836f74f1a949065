package aptrepo

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const someDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func stanzaOf(change ...string) string {
	s := "Package: hello\nVersion: 1:2.0-1+b1\nArchitecture: amd64\nPriority: optional\nDepends: libc6 (>= 2.3)\n" +
		"Description: a thing\n that is long\n .\n and longer\nFilename: pool/h/hello_2.0-1+b1_amd64.deb\nSize: 10\nSHA256: " + someDigest + "\n"
	for i := 0; i < len(change); i += 2 {
		s = strings.Replace(s, change[i], change[i+1], 1)
	}
	return s
}

func readAll(text string) ([]Package, error) {
	var out []Package
	err := ReadPackages(strings.NewReader(text), func(p *Package, _ []byte) error { out = append(out, *p); return nil })
	return out, err
}

func TestReadPackages(t *testing.T) {
	text := "\n\n" + stanzaOf() + "\n \n" + stanzaOf("hello\n", "world\n", "amd64\n", "all\nEssential: yes\n") + "\n" + stanzaOf("SHA256", "SHA1x")
	got, err := readAll(text)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %d, %v", len(got), err)
	}
	want := Package{Name: "hello", Version: "1:2.0-1+b1", Arch: "amd64", Priority: "optional", Depends: "libc6 (>= 2.3)",
		Filename: "pool/h/hello_2.0-1+b1_amd64.deb", SHA256: someDigest, Size: 10}
	if got[0] != want || got[1].Name != "world" || !got[1].Essential || got[1].Arch != "all" || got[2].SHA256 != "" {
		t.Errorf("got %+v", got)
	}
}

func TestReadPackagesRefuses(t *testing.T) {
	for _, change := range [][]string{
		{"Package: hello", "Package: -o=x"},
		{"Package: hello", "Package: ../x"},
		{"Package: hello", "Package: a b"},
		{"Package: hello", "Package: UPPER"},
		{"Package: hello\n", ""},
		{"Version: 1:2.0-1+b1", "Version: 1 2"},
		{"Version: 1:2.0-1+b1", "Version: -o=x"},
		{"Version: 1:2.0-1+b1", "Version: a/b"},
		{"Architecture: amd64", "Architecture: ../x"},
		{"Filename: pool", "Filename: ../pool"},
		{"Filename: pool/h", "Filename: pool/../../h"},
		{"Filename: pool", "Filename: /pool"},
		{"Filename: pool/h", "Filename: pool\x00h"},
		{"Filename: pool/h", `Filename: ..\pool`},
		{"Filename: pool/h/hello_2.0-1+b1_amd64.deb\n", ""},
		{"Size: 10", "Size: -10"},
		{"Size: 10", "Size: 99999999999999999999"},
		{"Size: 10\n", ""},
		{someDigest, someDigest[1:] + "A"},
		{someDigest, "../" + someDigest},
		{"Size: 10", "Size: 10\nSize: 11"},
		{"Size: 10", "nonsense"},
	} {
		if got, err := readAll(stanzaOf() + "\n" + stanzaOf(change...)); err == nil {
			t.Errorf("%q -> %q was read as %+v", change[0], change[1], got[len(got)-1])
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("the error names no line: %v", err)
		}
	}
	if _, err := readAll("Package: a\n" + strings.Repeat(" x\n", maxStanza)); err == nil {
		t.Error("an endless stanza was read")
	}
}

func TestWriteFields(t *testing.T) {
	var out bytes.Buffer
	if err := WriteFields(&out, []byte(stanzaOf()), func(f string) bool { return f == "Depends" || f == "Filename" }); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(stanzaOf("Depends: libc6 (>= 2.3)\n", ""), "Filename: pool/h/hello_2.0-1+b1_amd64.deb\n", "", 1) + "\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
}

func TestDecompress(t *testing.T) {
	plain := bytes.Repeat([]byte(stanzaOf()+"\n"), 1000)
	forms := map[string]func(io.Writer) io.WriteCloser{
		"gz":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"zst": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
		"xz":  func(w io.Writer) io.WriteCloser { z, _ := xz.NewWriter(w); return z },
	}
	for name, form := range forms {
		var packed bytes.Buffer
		w := form(&packed)
		w.Write(plain)
		w.Close()
		r, err := Decompress(bytes.NewReader(packed.Bytes()), int64(len(plain)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r.Close()
		r, _ = Decompress(bytes.NewReader(packed.Bytes()), int64(len(plain))-1)
		if _, err := io.ReadAll(r); err == nil {
			t.Errorf("%s: the bound was not kept", name)
		}
		if r, err = Decompress(bytes.NewReader(packed.Bytes()[:packed.Len()/2]), 1<<30); err == nil {
			if _, err = io.ReadAll(r); err == nil {
				t.Errorf("%s: half of it is good", name)
			}
		}
	}
	for _, small := range []string{"", "x", "plain text"} {
		r, err := Decompress(strings.NewReader(small), 100)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != small {
			t.Errorf("%q: %q, %v", small, got, err)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	order := []string{"~~", "~~a", "~", "0", "0a", "1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-10", "1.0+dfsg-1",
		"1.2.3", "1.10", "9", "10", "10a", "10a+", "1:0.4", "1:0.10", "2:0"}
	for i, a := range order {
		for j, b := range order {
			if got := CompareVersions(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	for _, same := range [][2]string{{"1.0", "0:1.0"}, {"1.0", "1.0-0"}, {"1.00", "1.0"}, {"1.0-", "1.0"}} {
		if CompareVersions(same[0], same[1]) != 0 {
			t.Errorf("%v are not the same", same)
		}
	}
}

// TestCompareVersionsAsDpkg asks the real dpkg about odd pairs.
func TestCompareVersionsAsDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg to compare with")
	}
	odd := []string{"1", "1~", "1~~", "1a", "1.a", "1+", "1+b", "0001", "1.0.", "1-1-1", "1:1", "0:1", "1z~", "1.2.3.4.5", "1.2-3~bpo12+1", "99999999999999999999999"}
	for _, a := range odd {
		for _, b := range odd {
			want := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil
			if got := CompareVersions(a, b) < 0; got != want {
				t.Errorf("%s < %s: %v, dpkg says %v", a, b, got, want)
			}
		}
	}
}

func TestParseRelations(t *testing.T) {
	got, err := ParseRelations("libc6 (>= 2.36), debconf (>= 0.5)|debconf-2.0 , python3:any (<<3.12), x11(= 1:1-1),")
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(got); s != "[[libc6 (>= 2.36)] [debconf (>= 0.5) debconf-2.0] [python3:any (<< 3.12)] [x11 (= 1:1-1)]]" {
		t.Error(s)
	}
	for _, bad := range []string{"a b", "-o=x", "libc6 (2.3)", "libc6 (>= )", "libc6 (>= 2", "libc6 (>= 2) x", "libc6 (~ 2)", "|", "x:$y"} {
		if g, err := ParseRelations(bad); err == nil {
			t.Errorf("%q was read as %v", bad, g)
		}
	}
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte(stanzaOf()))
	f.Add([]byte("Package: a\nDepends: b (>= 1) | c, d\n\n\n \nx"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := Decompress(bytes.NewReader(data), 1<<20)
		if err != nil {
			return
		}
		defer plain.Close()
		var all []*Package
		ReadPackages(plain, func(p *Package, raw []byte) error {
			if strings.HasPrefix(p.Name, "-") || strings.HasPrefix(p.Filename, "/") || strings.Contains("/"+p.Filename+"/", "/../") {
				t.Fatalf("read %+v", p)
			}
			if err := WriteFields(io.Discard, raw, func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
			return nil
		})
		Closure(all, "amd64", nil, nil)
	})
}
