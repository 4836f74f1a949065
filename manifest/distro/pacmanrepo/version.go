package pacmanrepo

import (
	"cmp"
	"strings"
)

// CompareVersions orders two versions, [EPOCH:]VERSION[-RELEASE], as pacman does (vercmp(8)): negative when a is older
// than b. Releases count only where both have one.
func CompareVersions(a, b string) int {
	ea, va, ra := splitVersion(a)
	eb, vb, rb := splitVersion(b)
	if c := cmp.Or(comparePart(ea, eb), comparePart(va, vb)); c != 0 || ra == "" || rb == "" {
		return c
	}
	return comparePart(ra, rb)
}

func splitVersion(v string) (epoch, version, release string) {
	epoch = "0"
	if e, rest, ok := strings.Cut(v, ":"); ok && strings.Trim(e, "0123456789") == "" {
		epoch, v = cmp.Or(e, "0"), rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// comparePart compares runs of digits as numbers and runs of letters as text; what separates them counts by its length.
func comparePart(a, b string) int {
	for a != "" && b != "" {
		na, nb := strings.TrimLeft(a, separators(a)), strings.TrimLeft(b, separators(b))
		if na == "" || nb == "" {
			return rest(na, nb)
		}
		if c := cmp.Compare(len(a)-len(na), len(b)-len(nb)); c != 0 {
			return c
		}
		kind := letters
		if strings.IndexByte(digits, na[0]) >= 0 {
			kind = digits
		}
		a, b = strings.TrimLeft(na, kind), strings.TrimLeft(nb, kind)
		x, y := na[:len(na)-len(a)], nb[:len(nb)-len(b)]
		if y == "" && kind == digits {
			return 1
		}
		if y == "" {
			return -1
		}
		if kind == digits {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return rest(a, b)
}

// separators are the characters at the beginning of s that are neither letters nor digits.
func separators(s string) string {
	i := strings.IndexAny(s, digits+letters)
	if i < 0 {
		return s
	}
	return s[:i]
}

// rest decides when one has ended: letters are older than nothing, all else is newer.
func rest(a, b string) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "":
		return -rest(b, a)
	case strings.IndexByte(letters, a[0]) >= 0:
		return -1
	default:
		return 1
	}
}
