package rpmrepo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxRepoFile bounds a .repo file, in bytes.
const MaxRepoFile = 1 << 20

// Section is one section of a configuration file, with its keys in lower case.
type Section struct {
	Name string
	Keys map[string]string
	// Hint is the base URL of a line that is commented out: distributions keep one beside their metalink.
	Hint string
}

// ParseIni reads the format of .repo files, dnf.conf and zypp.conf: sections, "key = value" or "key: value", lines that
// begin with a blank going on with the value before, # and ; for comments.
func ParseIni(b []byte) ([]Section, error) {
	if len(b) > MaxRepoFile {
		return nil, fmt.Errorf("more than %d bytes", MaxRepoFile)
	}
	var out []Section
	last := ""
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		text := strings.TrimSpace(line)
		switch {
		case text == "":
			last = ""
		case text[0] == '#' || text[0] == ';':
			if hint, ok := strings.CutPrefix(strings.TrimLeft(text, "#; "), "baseurl"); ok && len(out) > 0 {
				out[len(out)-1].Hint = strings.TrimSpace(strings.TrimLeft(hint, " ="))
			}
		case text[0] == '[' && strings.HasSuffix(text, "]"):
			out, last = append(out, Section{Name: text[1 : len(text)-1], Keys: make(map[string]string)}), ""
		case len(out) == 0:
			return nil, fmt.Errorf("line %d: %q stands before any section", number, text)
		case (line[0] == ' ' || line[0] == '\t') && last != "":
			out[len(out)-1].Keys[last] += "\n" + text
		default:
			i := strings.IndexAny(text, "=:")
			if i <= 0 {
				return nil, fmt.Errorf("line %d: %q has no value", number, text)
			}
			last = strings.ToLower(strings.TrimSpace(text[:i]))
			out[len(out)-1].Keys[last] = strings.TrimSpace(text[i+1:])
		}
	}
	return out, nil
}

// Repo is one repository of a system's configuration.
type Repo struct {
	ID, Name                         string
	BaseURLs                         []string
	Mirrorlist, Metalink, Path       string
	Enabled                          bool
	GPGCheck, RepoGPGCheck, PkgCheck Switch
	GPGKeys                          []string
	Priority, Cost                   int // 0 is unset
	Hint                             string
	Service                          string
	Exclude, Include                 string
	ModuleHotfixes                   bool
	File                             string // where it was read
}

// Switch is a boolean that may be unset.
type Switch int8

// The values of a Switch.
const (
	Unset Switch = iota
	Off
	On
)

// Or gives the switch as a boolean, otherwise when it is unset.
func (s Switch) Or(otherwise bool) bool {
	if s == Unset {
		return otherwise
	}
	return s == On
}

// ParseSwitch reads a boolean of these files; what is none is Unset.
func ParseSwitch(s string) Switch {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "yes", "true", "on", "always":
		return On
	case "0", "no", "false", "off", "never":
		return Off
	}
	return Unset
}

// Repos gives the repositories of a file's sections but "main", with expand applied to every value, and refuses names
// that could not be those of files.
func Repos(file string, sections []Section, expand func(string) string) ([]Repo, error) {
	var out []Repo
	for _, s := range sections {
		if s.Name == "main" {
			continue
		}
		get := func(key string) string { return expand(s.Keys[key]) }
		r := Repo{
			ID: expand(s.Name), Name: get("name"), BaseURLs: split(get("baseurl")), Mirrorlist: get("mirrorlist"), Metalink: get("metalink"),
			Path: get("path"), Enabled: ParseSwitch(s.Keys["enabled"]).Or(true), GPGKeys: split(get("gpgkey")),
			GPGCheck: ParseSwitch(s.Keys["gpgcheck"]), RepoGPGCheck: ParseSwitch(s.Keys["repo_gpgcheck"]), PkgCheck: ParseSwitch(s.Keys["pkg_gpgcheck"]),
			Priority: number(s.Keys["priority"]), Cost: number(s.Keys["cost"]), Hint: expand(s.Hint), Service: s.Keys["service"],
			Exclude: line(get("excludepkgs") + " " + get("exclude")), Include: line(get("includepkgs")),
			ModuleHotfixes: ParseSwitch(s.Keys["module_hotfixes"]).Or(false), File: file,
		}
		if err := checkWord("name of a repository", r.ID, "+-._:@~", 200); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == ',' })
}

func line(s string) string { return strings.Join(split(s), " ") }

func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > 1e6 {
		return 0
	}
	return n
}

// Expand replaces $NAME, ${NAME}, ${NAME:-otherwise} and ${NAME:+instead} by the variables of vars; a name that is not
// there stays as it is written, as the tools have it.
func Expand(s string, vars map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			return b.String() + s
		}
		b.WriteString(s[:i])
		s = s[i:]
		text, rest := variable(s, vars)
		b.WriteString(text)
		s = rest
	}
}

// variable expands what s begins with, and gives what comes after.
func variable(s string, vars map[string]string) (text, rest string) {
	if s[1] == '{' {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return s, ""
		}
		name, other, _ := strings.Cut(s[2:end], ":")
		value := vars[name]
		switch {
		case strings.HasPrefix(other, "-") && value == "", strings.HasPrefix(other, "+") && value != "":
			return other[1:], s[end+1:]
		case strings.HasPrefix(other, "+"):
			return "", s[end+1:]
		}
		if _, known := vars[name]; known {
			return value, s[end+1:]
		}
		return s[:end+1], s[end+1:]
	}
	end := 1
	for end < len(s) && (alphanumeric(s[end]) || s[end] == '_') {
		end++
	}
	if value, known := vars[s[1:end]]; known {
		return value, s[end:]
	}
	return s[:end], s[end:]
}

// Unknown lists the variables in a value that Expand could not replace.
func Unknown(s string) []string {
	var out []string
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return slices.Compact(out)
		}
		end := i + 1
		for end < len(s) && (alphanumeric(s[end]) || strings.IndexByte("_{}", s[end]) >= 0) {
			end++
		}
		out = append(out, s[i:end])
		s = s[end:]
	}
}
