package aptrepo

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// IgnoresValidUntil reports whether the apt configuration of a system turns the check of Valid-Until off for all
// repositories (Acquire::Check-Valid-Until in apt.conf(5)), as it is right beside a mirror that is not updated.
func IgnoresValidUntil(t Tree) bool {
	const parts = "/etc/apt/apt.conf.d"
	names, err := t.ReadDir(parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	slices.Sort(names)
	var files []string
	for _, n := range names {
		if ext := path.Ext(n); ext == "" || ext == ".conf" {
			files = append(files, parts+"/"+n)
		}
	}
	ignored := false
	for _, name := range append(files, "/etc/apt/apt.conf") {
		b, err := ReadFile(t, name, maxSources)
		if err != nil {
			continue
		}
		for _, o := range parseConf(string(b)) {
			if strings.EqualFold(o.name, "Acquire::Check-Valid-Until") {
				ignored = slices.Contains([]string{"no", "false", "0", "off", "without", "disable"}, strings.ToLower(o.value))
			}
		}
	}
	return ignored
}

type option struct{ name, value string }

// parseConf reads the syntax of apt.conf(5) as far as names and values go: blocks in braces, comments, quotes.
func parseConf(text string) []option {
	var out []option
	var scopes []string
	var words []string
	flush := func() {
		if len(words) == 2 {
			out = append(out, option{strings.Join(append(slices.Clone(scopes), words[0]), "::"), words[1]})
		}
		words = nil
	}
	for text != "" {
		switch c := text[0]; {
		case strings.HasPrefix(text, "//"), c == '#':
			_, text, _ = strings.Cut(text, "\n")
			continue
		case strings.HasPrefix(text, "/*"):
			_, text, _ = strings.Cut(text, "*/")
			continue
		case c == '"':
			value, rest, _ := strings.Cut(text[1:], `"`)
			words, text = append(words, value), rest
			continue
		case c == '{':
			scopes, words = append(scopes, strings.Join(words, "::")), nil
		case c == '}':
			flush()
			if len(scopes) > 0 {
				scopes = scopes[:len(scopes)-1]
			}
		case c == ';':
			flush()
		case strings.IndexByte(" \t\r\n", c) < 0:
			end := strings.IndexAny(text, " \t\r\n;{}\"")
			if end < 0 {
				end = len(text)
			}
			words, text = append(words, text[:end]), text[end:]
			continue
		}
		text = text[1:]
	}
	return out
}
