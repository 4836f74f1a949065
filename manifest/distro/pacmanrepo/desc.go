package pacmanrepo

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest"
)

// maxDesc bounds one entry of a database, in bytes.
const maxDesc = 4 << 20

// Desc is the file of one package in a database: values by field, which stands there as %NAME%.
type Desc map[string][]string

// ParseDesc reads a desc file.
func ParseDesc(data []byte) (Desc, error) {
	d := make(Desc)
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, maxDesc)
	field := ""
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "":
			field = ""
		case field != "":
			d[field] = append(d[field], line)
		case len(line) > 2 && line[0] == '%' && line[len(line)-1] == '%':
			field = line[1 : len(line)-1]
			if _, ok := d[field]; ok {
				return nil, fmt.Errorf("field %s stands there twice", field)
			}
			d[field] = nil
		default:
			return nil, fmt.Errorf("%.60q belongs to no field", line)
		}
	}
	return d, sc.Err()
}

// one gives the value of a field that has one; empty when it is not there.
func (d Desc) one(field string) string {
	if v := d[field]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Package is a package of a database.
type Package struct {
	Name, Version, Arch string
	Filename            string
	SHA256              string // hexadecimal; empty when the database has none
	Size                int64  // of the file, bytes
	BuildDate           int64  // seconds since the epoch
	Signature           []byte // the detached signature, when the database has it
	Provides            []string
}

// newPackage checks what a database of a repository says of a package.
func newPackage(d Desc) (*Package, error) {
	p := &Package{Name: d.one("NAME"), Version: d.one("VERSION"), Arch: d.one("ARCH"), Filename: d.one("FILENAME"), SHA256: strings.ToLower(d.one("SHA256SUM"))}
	if err := checkNames(p.Name, p.Version, p.Arch); err != nil {
		return nil, err
	}
	if p.Filename == "" || len(p.Filename) > 255 || p.Filename[0] == '.' || strings.ContainsFunc(p.Filename, notFilename) {
		return nil, fmt.Errorf("package %s has the file name %q", p.Name, p.Filename)
	}
	if p.SHA256 != "" && (len(p.SHA256) != 64 || strings.Trim(p.SHA256, "0123456789abcdef") != "") {
		return nil, fmt.Errorf("package %s has the sha256 %q", p.Name, p.SHA256)
	}
	var err error
	if p.Size, err = number(d.one("CSIZE")); err != nil {
		return nil, fmt.Errorf("package %s: size: %w", p.Name, err)
	}
	if p.BuildDate, err = number(d.one("BUILDDATE")); err != nil {
		return nil, fmt.Errorf("package %s: build date: %w", p.Name, err)
	}
	if sig := d.one("PGPSIG"); sig != "" {
		if p.Signature, err = base64.StdEncoding.DecodeString(sig); err != nil {
			return nil, fmt.Errorf("package %s: signature: %w", p.Name, err)
		}
	}
	for _, v := range d["PROVIDES"] {
		name, _, _ := strings.Cut(v, "=")
		p.Provides = append(p.Provides, name)
	}
	return p, nil
}

func number(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return n, nil
}

func notFilename(c rune) bool { return notRepo(c) && !strings.ContainsRune(":~=", c) }

// checkNames refuses what could be read as an option, a path or a second line.
func checkNames(name, version, arch string) error {
	switch {
	case !manifest.ValidPackageName(name):
		return fmt.Errorf("%q is not the name of a package", name)
	case version == "" || len(version) > 255 || version[0] == '-' || strings.ContainsFunc(version, notFilename):
		return fmt.Errorf("package %s has the version %q", name, version)
	case arch == "" || len(arch) > 32 || arch[0] == '-' || strings.ContainsFunc(arch, notRepo):
		return fmt.Errorf("package %s has the architecture %q", name, arch)
	}
	return nil
}

var errNoDesc = errors.New("it has no desc file")

// readDesc reads one desc file, of at most maxDesc bytes.
func readDesc(r io.Reader) (Desc, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDesc+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDesc {
		return nil, fmt.Errorf("more than %d bytes", maxDesc)
	}
	return ParseDesc(b)
}
