package aptrepo

import "strings"

// CompareVersions orders two versions as dpkg does (deb-version(7)): negative when a is older than b.
func CompareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	if c := comparePart(ea, eb); c != 0 {
		return c
	}
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// order is the weight of one character: "~" before the end, the end before letters, letters before all others.
func order(s string) int {
	switch {
	case s == "" || s[0] >= '0' && s[0] <= '9':
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// comparePart compares in turns what is not a digit, by order, and numbers, by value.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && digits(a[:1]) == 0 || b != "" && digits(b[:1]) == 0 {
			if c := order(a) - order(b); c != 0 {
				return c
			}
			a, b = skip(a), skip(b)
		}
		na, nb := digits(a), digits(b)
		da, db := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if len(da) != len(db) {
			return len(da) - len(db)
		}
		if c := strings.Compare(da, db); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// skip drops the first character; at the end and before a number nothing is left to drop.
func skip(s string) string {
	if s == "" || digits(s[:1]) == 1 {
		return s
	}
	return s[1:]
}

// satisfies reports whether version v stands in the relation op to want.
func satisfies(v, op, want string) bool {
	c := CompareVersions(v, want)
	switch op {
	case "":
		return true
	case "=":
		return c == 0
	case "<<":
		return c < 0
	case ">>":
		return c > 0
	case "<=", "<":
		return c <= 0
	case ">=", ">":
		return c >= 0
	}
	return false
}
