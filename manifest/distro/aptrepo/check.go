package aptrepo

import (
	"fmt"
	"strings"
)

// CheckName accepts the name of a Debian package (policy 5.6.1): it cannot be an option, a path or a pattern.
func CheckName(name string) error {
	for i := range len(name) {
		c := name[i]
		lower := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !lower && (i == 0 || c != '+' && c != '-' && c != '.') {
			return fmt.Errorf("%q is not a package name: letters a to z, digits, + - . and no other first character than a letter or digit", name)
		}
	}
	if name == "" || len(name) > 255 {
		return fmt.Errorf("%q is not a package name: it needs 1 to 255 characters", name)
	}
	return nil
}

// checkVersion accepts the characters of a version (policy 5.6.12).
func checkVersion(v string) error {
	for i := range len(v) {
		c := v[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(".+-~:", rune(c)) {
			return fmt.Errorf("%q is not a version", v)
		}
	}
	if v == "" || len(v) > 255 || strings.HasPrefix(v, "-") {
		return fmt.Errorf("%q is not a version", v)
	}
	return nil
}

func checkArch(a string) error {
	for i := range len(a) {
		if c := a[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return fmt.Errorf("%q is not an architecture", a)
		}
	}
	if a == "" || len(a) > 64 {
		return fmt.Errorf("%q is not an architecture", a)
	}
	return nil
}

// checkPath accepts a location inside a repository: relative, and nowhere upwards.
func checkPath(p string) error {
	if p == "" || p[0] == '/' || len(p) > 4096 {
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

func checkSHA256(s string) error {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is not a sha256 digest", s)
	}
	return nil
}

// Join gives the URL of a location inside a repository. It escapes as apt does; "+" too, which some servers take for
// a blank.
func Join(base, location string) string {
	var b strings.Builder
	b.WriteString(strings.TrimRight(base, "/"))
	for part := range strings.SplitSeq(location, "/") {
		if part == "" || part == "." {
			continue
		}
		b.WriteByte('/')
		for i := range len(part) {
			c := part[i]
			if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-._~:=@,!$", c) >= 0 {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02x", c)
			}
		}
	}
	return b.String()
}
