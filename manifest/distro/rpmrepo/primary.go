package rpmrepo

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// Package is a package file as an index lists it.
type Package struct {
	Name, Version, Arch string // the version is [epoch:]version-release
	Digest              Digest
	Location            string
	Base                string // URL that Location is relative to, when it is not the repository's
	Size                int64  // bytes
	Build               int64  // seconds since the epoch
	raw                 []byte // what stands between its tags
}

// Copy writes the entry as it was read, for an index that begins with PrimaryBegin and ends with PrimaryEnd.
func (p *Package) Copy(w io.Writer) error {
	for _, b := range [][]byte{packageBegin, p.raw, packageEnd, {'\n'}} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// What an index of packages begins and ends with.
const (
	PrimaryBegin = xml.Header + `<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">` + "\n"
	PrimaryEnd   = "</metadata>\n"
)

// Provides reports whether the package says that it provides name, as far as a look at its text can tell.
func (p *Package) Provides(name string) bool {
	_, rest, _ := bytes.Cut(p.raw, []byte("<rpm:provides>"))
	list, _, _ := bytes.Cut(rest, []byte("</rpm:provides>"))
	return bytes.Contains(list, []byte(`name="`+escape(name)+`"`))
}

// maxPackage bounds one package's entry, in bytes.
const maxPackage = 32 << 20

var (
	packageBegin, packageEnd = []byte("<package "), []byte("</package>")
	formatBegin              = []byte("<format")
)

// ReadPrimary reads a plain primary.xml as a stream. The *Package is visit's only until it returns.
//
// An index of a large distribution has hundreds of megabytes, of which all but one in a hundred are dependencies. So
// entries are cut out by their tags and only what stands before the dependencies is parsed as XML; text that contains
// such tags unescaped, which no known tool writes, makes an error and not another meaning.
func ReadPrimary(r io.Reader, visit func(*Package) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 256<<10), maxPackage)
	s.Split(splitPackages)
	root := false
	for s.Scan() {
		head, body, found := bytes.Cut(s.Bytes(), packageBegin)
		if !root {
			if root = bytes.Contains(head, []byte("<metadata")); !root {
				return errors.New("it is no index of packages")
			}
		}
		if !found {
			continue
		}
		p, err := parsePackage(body)
		if err != nil {
			return err
		}
		if err := visit(p); err != nil {
			return err
		}
	}
	return s.Err()
}

// splitPackages gives what ends with the end of an entry, and what comes after the last.
func splitPackages(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.Index(data, packageEnd); i >= 0 {
		return i + len(packageEnd), data[:i], nil
	}
	if atEOF && len(data) > 0 {
		if bytes.Contains(data, packageBegin) {
			return 0, nil, io.ErrUnexpectedEOF
		}
		return len(data), data, nil
	}
	return 0, nil, nil
}

type primaryEntry struct {
	Name    string `xml:"name"`
	Arch    string `xml:"arch"`
	Version struct {
		Epoch string `xml:"epoch,attr"`
		Ver   string `xml:"ver,attr"`
		Rel   string `xml:"rel,attr"`
	} `xml:"version"`
	Checksum struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	} `xml:"checksum"`
	Time struct {
		Build int64 `xml:"build,attr"`
	} `xml:"time"`
	Size struct {
		Package int64 `xml:"package,attr"`
	} `xml:"size"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
}

func parsePackage(body []byte) (*Package, error) {
	head, _, _ := bytes.Cut(body, formatBegin)
	var e primaryEntry
	doc := make([]byte, 0, len(head)+32)
	doc = append(append(append(doc, packageBegin...), head...), packageEnd...)
	if err := xml.Unmarshal(doc, &e); err != nil {
		return nil, fmt.Errorf("parse index of packages: %w", err)
	}
	p := &Package{
		Name: e.Name, Arch: e.Arch, Version: EVR(e.Version.Epoch, e.Version.Ver, e.Version.Rel), Digest: Digest(e.Checksum),
		Location: e.Location.Href, Base: e.Location.Base, Size: e.Size.Package, Build: e.Time.Build, raw: body,
	}
	return p, p.check()
}

// EVR joins [epoch:]version-release; an epoch of 0 is left out.
func EVR(epoch, version, release string) string {
	v := version + "-" + release
	if epoch != "" && epoch != "0" && epoch != "(none)" {
		v = epoch + ":" + v
	}
	return v
}

func (p *Package) check() error {
	err := errors.Join(CheckName(p.Name), CheckVersion(p.Version), checkWord("architecture", p.Arch, "_-", 32), checkLocation(p.Location))
	if err == nil && p.Base != "" && !webURL(p.Base) {
		err = fmt.Errorf("%q is not a base that http or https reaches", p.Base)
	}
	if err == nil && (p.Size < 0 || p.Size > 64<<30) {
		err = fmt.Errorf("%d is not a size", p.Size)
	}
	if err != nil {
		return fmt.Errorf("index entry of package %q: %w", p.Name, err)
	}
	return nil
}

// CheckVersion accepts [epoch:]version-release.
func CheckVersion(v string) error { return checkWord("version", v, ".+:~^_-", 255) }
