package aptrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func ar(members ...string) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for i := 0; i < len(members); i += 2 {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", members[i], 0, 0, 0, "100644", len(members[i+1]), members[i+1])
		if len(members[i+1])%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func tarOf(files ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg})
		w.Write([]byte(files[i+1]))
	}
	w.Close()
	return b.String()
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

const control = "Package: mini\nVersion: 1\nArchitecture: all\n"

func TestReadDeb(t *testing.T) {
	data := tarOf("./usr/x", "hello")
	for name, file := range map[string][]byte{
		"plain":   ar("debian-binary", "2.0\n", "control.tar", tarOf("./control", control), "data.tar", data),
		"gzip":    ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("./postinst", "x", "control", control+"\n")), "data.tar.gz", gz(data)),
		"slashes": ar("debian-binary/", "2.0\n", "_gpg", "odd", "control.tar.gz/", gz(tarOf("./control", control)), "_x", "", "data.tar/", data),
	} {
		d, err := ReadDeb(bytes.NewReader(file))
		if err != nil || string(d.Control) != strings.TrimSuffix(control, "\n") {
			t.Fatalf("%s: %+v, %v", name, d, err)
		}
		r, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != data {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r.Close()
	}
}

func TestReadDebRefuses(t *testing.T) {
	ctl, data := gz(tarOf("control", control)), gz(tarOf("./x", "y"))
	for name, file := range map[string][]byte{
		"empty":             nil,
		"no archive":        []byte("hello, world"),
		"no members":        ar(),
		"format 3":          ar("debian-binary", "3.0\n", "control.tar.gz", ctl, "data.tar.gz", data),
		"control missing":   ar("debian-binary", "2.0\n", "data.tar.gz", data),
		"control empty":     ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("control", "\n")), "data.tar.gz", data),
		"two stanzas":       ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("control", control+"\n"+control)), "data.tar.gz", data),
		"no control file":   ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("x", control)), "data.tar.gz", data),
		"huge control":      ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("control", strings.Repeat("x", maxControl+1))), "data.tar.gz", data),
		"data missing":      ar("debian-binary", "2.0\n", "control.tar.gz", ctl),
		"foreign member":    ar("debian-binary", "2.0\n", "control.tar.gz", ctl, "evil", "x", "data.tar.gz", data),
		"cut":               ar("debian-binary", "2.0\n", "control.tar.gz", ctl, "data.tar.gz", data)[:250],
		"negative size":     bytes.Replace(ar("debian-binary", "2.0\n"), []byte("4         `"), []byte("-4        `"), 1),
		"control is a bomb": ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("a", strings.Repeat("\x00", maxControlTar+1), "control", control)), "data.tar.gz", data),
	} {
		d, err := ReadDeb(bytes.NewReader(file))
		if err == nil {
			var r io.ReadCloser
			if r, err = d.Data(); err == nil {
				_, err = io.ReadAll(r)
			}
		}
		if err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TestReadDebOfDpkg reads what the real dpkg-deb makes, in each compression.
func TestReadDebOfDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb to compare with")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755)
	os.MkdirAll(filepath.Join(root, "usr"), 0o755)
	os.WriteFile(filepath.Join(root, "DEBIAN/control"), []byte(control+"Maintainer: x <x@example.org>\nDescription: d\n"), 0o644)
	os.WriteFile(filepath.Join(root, "usr/file"), bytes.Repeat([]byte("content"), 10_000), 0o644)
	for _, z := range []string{"none", "gzip", "xz", "zstd"} {
		name := filepath.Join(dir, z+".deb")
		if out, err := exec.Command("dpkg-deb", "-Z"+z, "--root-owner-group", "-b", root, name).CombinedOutput(); err != nil {
			t.Logf("dpkg-deb cannot make %s: %s", z, out)
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := ReadDeb(f)
		if err != nil {
			t.Fatalf("%s: %v", z, err)
		}
		r, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		want, werr := exec.Command("dpkg-deb", "--fsys-tarfile", name).Output()
		if err != nil || werr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; dpkg-deb %d bytes, %v", z, len(got), err, len(want), werr)
		}
		r.Close()
		f.Close()
	}
}

func FuzzDeb(f *testing.F) {
	f.Add(ar("debian-binary", "2.0\n", "control.tar.gz", gz(tarOf("control", control)), "data.tar", tarOf("./x", "y")))
	f.Add(ar("debian-binary", "2.0\n", "control.tar", tarOf("control", control), "data.tar.gz", gz(tarOf("./x", "y"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDeb(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(d.Control) == 0 {
			t.Fatal("a package without a control file")
		}
		if r, err := d.Data(); err == nil {
			io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			r.Close()
		}
	})
}
