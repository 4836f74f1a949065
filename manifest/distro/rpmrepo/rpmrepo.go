// Package rpmrepo reads and writes the formats of rpm archives: repomd.xml, primary.xml, metalinks and lists of
// mirrors, .repo files and their variables, and the header of a package file. It neither uses the network nor runs
// anything.
//
// A repository is a base URL; its repomd.xml lists every index by digest; the index "primary" lists every package file
// by digest. A metalink, or a signature beside it, vouches for repomd.xml.
//
// All input is hostile until its signature or digest was checked, and still hostile in its meaning after that: sizes
// are bounded, names cannot be options or paths, and locations cannot leave the repository.
package rpmrepo

import (
	"fmt"
	"net/url"
	"strings"
)

// CheckName accepts the name of a package, of which no tool could make an option, a path, a pattern or a version.
func CheckName(name string) error { return checkWord("package name", name, "+-._", 255) }

// checkWord accepts letters, digits and the characters of more, beginning with a letter, a digit or "_".
func checkWord(what, s, more string, most int) error {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && (i == 0 && c != '_' || strings.IndexByte(more, c) < 0) {
			return fmt.Errorf("%q is not a %s", s, what)
		}
	}
	if s == "" || len(s) > most {
		return fmt.Errorf("%q is not a %s: it needs 1 to %d characters", s, what, most)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// checkLocation accepts a location inside a repository: relative, and nowhere upwards.
func checkLocation(p string) error {
	if p == "" || p[0] == '/' || len(p) > 4096 || strings.Contains(p, "://") {
		return fmt.Errorf("%q is not a location inside a repository", p)
	}
	for i := range len(p) {
		if p[i] < 0x20 || p[i] == 0x7f || p[i] == '\\' {
			return fmt.Errorf("%q is not a location inside a repository", p)
		}
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return fmt.Errorf("%q leaves the repository", p)
		}
	}
	return nil
}

// Join gives the URL of a location inside a repository. Locations are plain text, and are escaped here; those that
// come escaped already stay so. A query of the base, a token perhaps, is kept.
func Join(base, location string) string {
	base, query, found := strings.Cut(base, "?")
	if plain, err := url.PathUnescape(location); err == nil {
		location = plain
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(base, "/"))
	for part := range strings.SplitSeq(location, "/") {
		if part == "" || part == "." {
			continue
		}
		b.WriteByte('/')
		for i := range len(part) {
			if c := part[i]; alphanumeric(c) || strings.IndexByte("-._~:=@,!$", c) >= 0 {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02x", c)
			}
		}
	}
	if found {
		b.WriteString("?" + query)
	}
	return b.String()
}

// Digest is a checksum as metadata gives it.
type Digest struct {
	Type  string // "sha256", "sha512", ...
	Value string // hexadecimal
}

// SHA256 returns the digest, or an error for any other kind and for malformed ones.
func (d Digest) SHA256() (string, error) {
	value := strings.ToLower(strings.TrimSpace(d.Value))
	if !strings.EqualFold(d.Type, "sha256") {
		return "", fmt.Errorf("its digest is a %s; only sha256 can be locked", d.Type)
	}
	if len(value) != 64 || strings.Trim(value, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a sha256 digest", d.Value)
	}
	return value, nil
}
