package rpmrepo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const (
	sumA = "1111111111111111111111111111111111111111111111111111111111111111"
	sumB = "2222222222222222222222222222222222222222222222222222222222222222"
)

const repomdText = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1704067200</revision>
  <data type="primary">
    <checksum type="sha256">` + sumA + `</checksum>
    <open-checksum type="sha256">` + sumB + `</open-checksum>
    <location href="repodata/x-primary.xml.gz"/>
    <timestamp>1704067200</timestamp>
    <size>1333</size>
    <open-size>8662</open-size>
  </data>
</repomd>
`

func TestParseRepomd(t *testing.T) {
	r, err := ParseRepomd([]byte(repomdText))
	if err != nil {
		t.Fatal(err)
	}
	d, ok := r.Find("primary")
	if sum, err := d.Digest.SHA256(); r.Revision != 1704067200 || !ok || err != nil || sum != sumA || d.Location != "repodata/x-primary.xml.gz" || d.Size != 1333 || d.OpenSize != 8662 {
		t.Errorf("got %+v, %v", r, err)
	}
	for text, want := range map[string]string{
		strings.Replace(repomdText, "repodata/x", "../x", 1):        "leaves the repository",
		strings.Replace(repomdText, "repodata/x", "/x", 1):          "is not a location",
		strings.Replace(repomdText, "repodata/x", "https://h/x", 1): "is not a location",
		strings.Replace(repomdText, "1333", "-1", 1):                "negative",
		strings.ReplaceAll(repomdText, "repomd", "html"):            "it is a <html>",
		repomdText + "<repomd/>":                                    "second document",
		repomdText[:200]:                                            "EOF",
		"":                                                          "EOF",
	} {
		if _, err := ParseRepomd([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for text, want := range map[string]int64{"1704067200": 1704067200, " 1704067200\n": 1704067200, "": 0, "7": 0, "20240101-1": 0, "99999999999999": 0} {
		if got := revision(text); got != want {
			t.Errorf("revision %q is %d", text, got)
		}
	}
	var out bytes.Buffer
	if err := WriteRepomd(&out, 5e9, []LocalData{{"primary", "repodata/primary.xml", sumB, 7}}); err != nil {
		t.Fatal(err)
	}
	if again, err := ParseRepomd(out.Bytes()); err != nil || again.Revision != 5e9 || again.Data[0].Digest.Value != sumB || again.Data[0].Size != 7 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestDigest(t *testing.T) {
	for _, tt := range []struct {
		d  Digest
		ok bool
	}{
		{Digest{"sha256", sumA}, true}, {Digest{"SHA256", strings.ToUpper(sumA) + "\n"}, true},
		{Digest{"sha", sumA}, false}, {Digest{"sha512", sumA + sumA}, false}, {Digest{"sha256", sumA[1:]}, false}, {Digest{"sha256", sumA[1:] + "g"}, false},
	} {
		if _, err := tt.d.SHA256(); (err == nil) != tt.ok {
			t.Errorf("%v: %v", tt.d, err)
		}
	}
}

const metalinkText = `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files>
  <file name="repomd.xml">
   <mm0:timestamp>1700000002</mm0:timestamp>
   <size>4000</size>
   <verification>
    <hash type="md5">00</hash>
    <hash type="sha256">` + sumA + `</hash>
   </verification>
   <mm0:alternates>
    <mm0:alternate>
     <mm0:timestamp>1700000001</mm0:timestamp>
     <size>4000</size>
     <verification><hash type="sha256">` + sumB + `</hash></verification>
    </mm0:alternate>
   </mm0:alternates>
   <resources maxconnections="1">
    <url protocol="http" type="http" location="DE" preference="100">http://a.example/linux/os/repodata/repomd.xml</url>
    <url protocol="https" type="https" location="DE" preference="90">https://b.example/linux/os/repodata/repomd.xml</url>
    <url protocol="https" type="https" location="DE" preference="99">https://c.example/linux/os/repodata/repomd.xml</url>
    <url protocol="rsync" type="rsync" location="DE" preference="98">rsync://c.example/linux/os/repodata/repomd.xml</url>
   </resources>
  </file>
 </files>
</metalink>
`

func TestParseMetalink(t *testing.T) {
	m, err := ParseMetalink([]byte(metalinkText))
	want := "&{[" + sumA + " " + sumB + "] [https://c.example/linux/os https://b.example/linux/os http://a.example/linux/os]}"
	if err != nil || fmt.Sprint(m) != want {
		t.Errorf("got %v, %v", m, err)
	}
	for text, want := range map[string]string{
		strings.ReplaceAll(metalinkText, "sha256", "sha1"):               "no sha256",
		strings.ReplaceAll(metalinkText, `name="repomd.xml"`, `name=""`): "nothing about a repomd.xml",
		strings.ReplaceAll(metalinkText, "/repodata/", "/"):              "no mirror",
		"https://a.example/": "EOF",
	} {
		if _, err := ParseMetalink([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	list, err := ParseMirrorlist([]byte("# mirrors\nhttps://a.example/x/\n\nftp://b.example/x\nhttp://c.example/x\n"))
	if fmt.Sprint(list) != "[https://a.example/x/ http://c.example/x]" || err != nil {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := ParseMirrorlist([]byte("<html>no</html>")); err == nil {
		t.Error("a page is a list of mirrors")
	}
	if !IsMetalink([]byte("\n<?xml ")) || IsMetalink([]byte("https://a.example")) {
		t.Error("IsMetalink")
	}
}

func TestRepos(t *testing.T) {
	const text = `[main]
gpgcheck=1
[fedora]
name=Fedora $releasever
#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/
metalink=https://mirrors.example/metalink?repo=fedora-$releasever&arch=$basearch
enabled=1
gpgkey=file:///etc/pki/a
 file:///etc/pki/b-$basearch
[off]
baseurl = https://a.example/1,
  https://a.example/2
Enabled = No
repo_gpgcheck: yes
priority=10
`
	sections, err := ParseIni([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"releasever": "41", "basearch": "x86_64"}
	repos, err := Repos("f", sections, func(s string) string { return Expand(s, vars) })
	if err != nil || len(repos) != 2 {
		t.Fatalf("%v, %v", repos, err)
	}
	a, b := repos[0], repos[1]
	if a.ID != "fedora" || a.Metalink != "https://mirrors.example/metalink?repo=fedora-41&arch=x86_64" || !a.Enabled || a.GPGCheck != Unset ||
		fmt.Sprint(a.GPGKeys) != "[file:///etc/pki/a file:///etc/pki/b-x86_64]" || a.Hint != "http://download.example/pub/fedora/linux/releases/41/Everything/x86_64/os/" {
		t.Errorf("%+v", a)
	}
	if b.Enabled || fmt.Sprint(b.BaseURLs) != "[https://a.example/1 https://a.example/2]" || b.RepoGPGCheck != On || b.Priority != 10 {
		t.Errorf("%+v", b)
	}
	for _, bad := range []string{"x=1\n", "[a]\nnonsense\n"} {
		if s, err := ParseIni([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
	for _, bad := range []string{"[a b]\n", "[../x]\n", "[-x]\n", "[]\n"} {
		s, _ := ParseIni([]byte(bad))
		if r, err := Repos("f", s, strings.Clone); err == nil {
			t.Errorf("%q: %v", bad, r)
		}
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"releasever": "9", "arch": "x86_64", "empty": ""}
	for in, want := range map[string]string{
		"$releasever/${arch}/x": "9/x86_64/x", "$nope/$": "$nope/$", "${nope}": "${nope}", "$releaseverx": "$releaseverx",
		"${empty:-e}${releasever:-e}": "e9", "${releasever:+yes}${empty:+no}": "yes", "${unclosed": "${unclosed", "$$arch": "$x86_64",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := fmt.Sprint(Unknown("http://h/$a/${b}/c")); got != "[$a ${b}]" {
		t.Error(got)
	}
}

func TestParseRepoindex(t *testing.T) {
	const text = `<repoindex ttl="0" disturl="https://cdn.example" distsub="tumbleweed/">
<repo url="%{disturl}/%{distsub}repo/oss/" alias="repo-oss" name="main" enabled="true" autorefresh="true"/>
<repo url="%{disturl}/src" alias="repo-source"/>
</repoindex>`
	repos, err := ParseRepoindex([]byte(text), "openSUSE", strings.Clone)
	if err != nil || len(repos) != 2 || repos[0].ID != "openSUSE:repo-oss" || !repos[0].Enabled || repos[1].Enabled || repos[0].BaseURLs[0] != "https://cdn.example/tumbleweed/repo/oss/" {
		t.Errorf("%+v, %v", repos, err)
	}
}

func TestJoin(t *testing.T) {
	for _, tt := range [][3]string{
		{"https://h/a/", "b/c+d.rpm", "https://h/a/b/c%2bd.rpm"}, {"https://h/a", "b%2bc", "https://h/a/b%2bc"},
		{"https://h/a?token=1", "b", "https://h/a/b?token=1"}, {"https://h/a/", "", "https://h/a"}, {"https://h", "x^1~2.rpm", "https://h/x%5e1~2.rpm"},
	} {
		if got := Join(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%q, want %q", got, tt[2])
		}
	}
}

const primaryText = PrimaryBegin + `<package type="rpm">
  <name>minihello</name>
  <arch>noarch</arch>
  <version epoch="1" ver="2.0" rel="1"/>
  <checksum type="sha256" pkgid="YES">` + sumA + `</checksum>
  <summary>greets &lt;package &amp; goes &lt;/package&gt;</summary>
  <time file="1704067200" build="1704067201"/>
  <size package="7023" installed="95" archive="1044"/>
  <location href="a/minihello-2.0-1.noarch.rpm"/>
  <format>
    <rpm:provides>
      <rpm:entry name="greeter"/>
      <rpm:entry name="minihello" flags="EQ" epoch="0" ver="2.0" rel="1"/>
    </rpm:provides>
    <rpm:requires>
      <rpm:entry name="libmini" flags="GE" epoch="0" ver="2.0"/>
    </rpm:requires>
  </format>
</package>
<package type="rpm"><name>b</name><arch>x86_64</arch><version epoch="0" ver="1" rel="2"/><checksum type="sha512" pkgid="YES">ab</checksum>
<time build="3"/><size package="1"/><location xml:base="https://other.example/x" href="b.rpm"/><format/></package>
` + PrimaryEnd

func TestReadPrimary(t *testing.T) {
	var got []string
	var copied bytes.Buffer
	err := ReadPrimary(strings.NewReader(primaryText), func(p *Package) error {
		got = append(got, fmt.Sprint(p.Name, " ", p.Version, " ", p.Arch, " ", p.Location, " ", p.Base, " ", p.Size, " ", p.Build, " ", p.Digest.Type, " ", p.Provides("greeter"), p.Provides("libmini")))
		return p.Copy(&copied)
	})
	want := "[minihello 1:2.0-1 noarch a/minihello-2.0-1.noarch.rpm  7023 1704067201 sha256 true false b 1-2 x86_64 b.rpm https://other.example/x 1 3 sha512 false false]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v", got, err)
	}
	if PrimaryBegin+copied.String()+PrimaryEnd != primaryText {
		t.Errorf("copied %s", copied.String())
	}
	replace := func(old, new string) string { return strings.Replace(primaryText, old, new, 1) }
	for text, want := range map[string]string{
		replace("<metadata", "<html"):             "no index",
		replace("a/minihello", "../minihello"):    "leaves the repository",
		replace("minihello</name>", "-x</name>"):  "not a package name",
		replace("noarch<", "no arch<"):            "not a architecture",
		replace(`ver="2.0"`, `ver="2.0 "`):        "not a version",
		replace("&lt;/package&gt;", "</package>"): "parse index",
		replace("https://other", "file://other"):  "is not a base",
		replace("7023", "-1"):                     "is not a size",
		primaryText[:len(primaryText)-40]:         "unexpected EOF",
	} {
		if err := ReadPrimary(strings.NewReader(text), func(*Package) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// safe fails the test for a location that leaves a repository.
func safe(t *testing.T, p string) {
	if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") || p == "" {
		t.Fatalf("location %q", p)
	}
}

func FuzzRepomd(f *testing.F) {
	f.Add([]byte(repomdText))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRepomd(b); err == nil {
			for _, d := range r.Data {
				safe(t, d.Location)
			}
		}
	})
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(primaryText))
	f.Fuzz(func(t *testing.T, b []byte) {
		ReadPrimary(bytes.NewReader(b), func(p *Package) error {
			safe(t, p.Location)
			if CheckName(p.Name) != nil || CheckVersion(p.Version) != nil {
				t.Fatalf("%+v", p)
			}
			return nil
		})
	})
}

func FuzzMirrors(f *testing.F) {
	f.Add([]byte(metalinkText))
	f.Add([]byte("https://a.example/\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMetalink(b); err == nil && (len(m.Good) == 0 || len(m.Bases) == 0) {
			t.Fatalf("%+v", m)
		}
		if list, err := ParseMirrorlist(b); err == nil && len(list) == 0 {
			t.Fatal("a list of no mirrors")
		}
	})
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte("[a]\nbaseurl=https://x/$y\n z\n"))
	f.Add([]byte(`<repoindex a="b"><repo alias="c" url="%{a}"/></repoindex>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseRepoindex(b, "s", strings.Clone)
		if s, err := ParseIni(b); err == nil {
			Repos("f", s, func(s string) string { return Expand(s, map[string]string{"a": "b"}) })
		}
		Unknown(string(b))
	})
}
