package pacmanrepo

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// Bounds of what stands in a package before its files.
const (
	maxInfo   = 1 << 20   // bytes of .PKGINFO
	maxBefore = 512 << 20 // bytes, decompressed
)

// Info is a package's .PKGINFO.
type Info struct{ values map[string][]string }

// Name, Version and Arch say which package it is.
func (i *Info) Name() string    { return i.one("pkgname") }
func (i *Info) Version() string { return i.one("pkgver") }
func (i *Info) Arch() string    { return i.one("arch") }

func (i *Info) one(key string) string { return Desc(i.values).one(key) }

// ParseInfo reads a .PKGINFO file.
func ParseInfo(data []byte) (*Info, error) {
	i := &Info{make(map[string][]string)}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || strings.ContainsAny(value, "\r\x00") {
			return nil, fmt.Errorf("its .PKGINFO has the line %.60q", line)
		}
		if value != "" {
			i.values[key] = append(i.values[key], value)
		}
	}
	for _, key := range []string{"pkgname", "pkgver", "arch"} {
		if len(i.values[key]) != 1 {
			return nil, fmt.Errorf("its .PKGINFO has not exactly one %s", key)
		}
	}
	return i, checkNames(i.Name(), i.Version(), i.Arch())
}

// ReadInfo reads the start of a package file, through its .PKGINFO, which stands before the package's own files.
func ReadInfo(r io.Reader) (*Info, error) {
	plain, err := aptrepo.Decompress(r, maxBefore)
	if err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil, errors.New("it is no package: it has no .PKGINFO")
		}
		if err != nil {
			return nil, fmt.Errorf("read package: %w", err)
		}
		name := path.Clean(h.Name)
		switch {
		case name == ".PKGINFO" && h.Typeflag == tar.TypeReg:
			var b bytes.Buffer
			if n, err := io.Copy(&b, io.LimitReader(tr, maxInfo+1)); err != nil || n > maxInfo {
				return nil, errors.Join(errors.New("its .PKGINFO cannot be read, or is too long"), err)
			}
			return ParseInfo(b.Bytes())
		case !strings.HasPrefix(name, "."):
			return nil, errors.New("it is no package: its files begin before .PKGINFO")
		}
	}
}
