package aptrepo

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Package is one stanza of a Packages index, as far as it is needed here. Relations are as written.
type Package struct {
	Name, Version, Arch           string
	MultiArch, Priority           string
	Essential                     bool
	PreDepends, Depends, Provides string
	Conflicts, Breaks             string
	Filename, SHA256              string // SHA256 is empty where the index has only weaker digests
	Size                          int64  // bytes
	Source                        int    // set by the caller: which index it came from
}

// ReadPackages reads a plain Packages index to its end and calls visit for every package, with its raw stanza, which
// is valid during the call only.
func ReadPackages(r io.Reader, visit func(p *Package, raw []byte) error) error {
	sc := NewScanner(r, false)
	for {
		raw, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			var p *Package
			if p, err = ParsePackage(raw); err == nil {
				err = p.checkFile()
			}
			if err == nil {
				err = visit(p, raw)
			}
		}
		if err != nil {
			return fmt.Errorf("read package index, line %d: %w", max(sc.Line(), 1), err)
		}
	}
}

// ParsePackage parses the raw stanza of a package: from an index, of an archive's control file, or of dpkg's status.
func ParsePackage(raw []byte) (*Package, error) {
	p := &Package{}
	var size, essential string
	for name, value := range rawFields(raw) {
		var to *string
		switch string(name) {
		case "":
			return nil, errField
		case "Package":
			to = &p.Name
		case "Version":
			to = &p.Version
		case "Architecture":
			to = &p.Arch
		case "Multi-Arch":
			to = &p.MultiArch
		case "Priority":
			to = &p.Priority
		case "Essential":
			to = &essential
		case "Pre-Depends":
			to = &p.PreDepends
		case "Depends":
			to = &p.Depends
		case "Provides":
			to = &p.Provides
		case "Conflicts":
			to = &p.Conflicts
		case "Breaks":
			to = &p.Breaks
		case "Filename":
			to = &p.Filename
		case "SHA256":
			to = &p.SHA256
		case "Size":
			to = &size
		default:
			continue
		}
		if *to != "" {
			return nil, fmt.Errorf("package %q has the field %s twice", p.Name, name)
		}
		*to = string(value)
	}
	p.Essential = essential == "yes"
	p.Size = -1
	if size != "" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("package %q has the size %q", p.Name, size)
		}
		p.Size = n
	}
	return p, errors.Join(CheckName(p.Name), checkVersion(p.Version), checkArch(p.Arch))
}

// checkFile checks what an index says of the package's file.
func (p *Package) checkFile() error {
	if err := checkPath(p.Filename); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if p.SHA256 != "" {
		if err := checkSHA256(p.SHA256); err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	if p.Size < 0 {
		return fmt.Errorf("package %s has no size", p.Name)
	}
	return nil
}

// WriteFields writes a raw stanza and the empty line after it, without the fields that drop names.
func WriteFields(w io.Writer, raw []byte, drop func(field string) bool) error {
	var err error
	put := func(b []byte) {
		if err == nil {
			_, err = w.Write(b)
		}
	}
	for name, value := range rawFields(raw) {
		if len(name) == 0 {
			return errField
		}
		if drop(string(name)) {
			continue
		}
		put(name)
		put([]byte(": "))
		put(value)
		put([]byte("\n"))
	}
	put([]byte("\n"))
	return err
}
