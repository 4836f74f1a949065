package rpmrepo

import (
	"cmp"
	"strings"
)

// CompareVersions orders two versions, [EPOCH:]VERSION-RELEASE, as rpm does (rpm-version(7)): negative when a is older
// than b.
func CompareVersions(a, b string) int {
	ea, va, ra := splitVersion(a)
	eb, vb, rb := splitVersion(b)
	return cmp.Or(comparePart(ea, eb), comparePart(va, vb), comparePart(ra, rb))
}

func splitVersion(v string) (epoch, version, release string) {
	epoch = "0"
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = cmp.Or(e, "0"), rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// comparePart compares runs of digits as numbers and runs of letters as text, numbers being newer than letters. A "~" is
// older than the end, a "^" newer than the end and older than all else; what else stands between counts for nothing.
func comparePart(a, b string) int {
	for {
		a, b = meaningful(a), meaningful(b)
		switch x, y := begins(a, '~'), begins(b, '~'); {
		case x && y:
			a, b = a[1:], b[1:]
			continue
		case x:
			return -1
		case y:
			return 1
		}
		switch x, y := begins(a, '^'), begins(b, '^'); {
		case x && y:
			a, b = a[1:], b[1:]
			continue
		case x && b == "", y && a != "":
			return 1
		case x, y:
			return -1
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		kind := letters
		if strings.IndexByte(digits, a[0]) >= 0 {
			kind = digits
		}
		restA, restB := strings.TrimLeft(a, kind), strings.TrimLeft(b, kind)
		x, y := a[:len(a)-len(restA)], b[:len(b)-len(restB)]
		switch {
		case y == "" && kind == digits:
			return 1
		case y == "":
			return -1
		case kind == digits:
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = restA, restB
	}
}

func begins(s string, c byte) bool { return s != "" && s[0] == c }

// meaningful skips what only separates.
func meaningful(s string) string {
	return strings.TrimLeftFunc(s, func(c rune) bool { return !strings.ContainsRune(digits+letters+"~^", c) })
}
