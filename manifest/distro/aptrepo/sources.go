package aptrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxSources bounds one file of sources, in bytes.
const maxSources = 1 << 20

// Source is one suite of one repository that apt is told to use.
type Source struct {
	URI           string
	Suite         string   // ends in "/" for a flat repository
	Components    []string // none for a flat repository
	Architectures []string // none: the system's own
	SignedBy      []string // key ring files (absolute) or fingerprints; none: every trusted key
	Key           []byte   // armored keys that stand in the file itself
	Trusted       bool     // used without a good signature
	NeverExpires  bool     // Valid-Until is not looked at
	File          string   // where it stands
	Line          int
}

// Tree is a file tree to read configuration from: the host's, or that of a base.
type Tree interface {
	Open(name string) (io.ReadCloser, error)
	ReadDir(name string) ([]string, error)
}

// FS makes a Tree of a file system, whose names then begin with a slash.
func FS(fsys fs.FS) Tree { return fsTree{fsys} }

type fsTree struct{ fsys fs.FS }

func (t fsTree) Open(name string) (io.ReadCloser, error) {
	return t.fsys.Open(strings.TrimPrefix(path.Clean(name), "/"))
}

func (t fsTree) ReadDir(name string) ([]string, error) {
	list, err := fs.ReadDir(t.fsys, strings.TrimPrefix(path.Clean(name), "/"))
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names, err
}

// ReadFile reads a file of a tree; more than limit bytes is an error.
func ReadFile(t Tree, name string, limit int64) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// ReadSources reads apt's sources of a system in apt's order: /etc/apt/sources.list, then the files of
// /etc/apt/sources.list.d by name.
func ReadSources(t Tree) ([]Source, error) {
	var out []Source
	read := func(name string, parse func(string, []byte) ([]Source, error)) error {
		b, err := ReadFile(t, name, maxSources)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		list, err := parse(name, b)
		out = append(out, list...)
		return err
	}
	if err := read("/etc/apt/sources.list", ParseList); err != nil {
		return nil, err
	}
	const parts = "/etc/apt/sources.list.d"
	names, err := t.ReadDir(parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", parts, err)
	}
	slices.Sort(names)
	for _, name := range names {
		parse := ParseList
		switch path.Ext(name) {
		case ".list":
		case ".sources":
			parse = ParseSources
		default:
			continue
		}
		if err := read(parts+"/"+name, parse); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ParseList parses a file of the one-line format: deb [options] uri suite components.
func ParseList(file string, data []byte) ([]Source, error) {
	var out []Source
	for i, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		kind, rest := word(line)
		if kind == "" || kind == "deb-src" {
			continue
		}
		s := Source{File: file, Line: i + 1}
		if err := s.parseLine(kind, rest); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// word splits off the first word.
func word(s string) (string, string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func (s *Source) parseLine(kind, rest string) error {
	if kind != "deb" {
		return fmt.Errorf("%q is neither deb nor deb-src", kind)
	}
	if inside, ok := strings.CutPrefix(rest, "["); ok {
		options, after, closed := strings.Cut(inside, "]")
		if !closed {
			return errors.New("the options have no end")
		}
		for _, o := range strings.Fields(options) {
			name, value, ok := strings.Cut(o, "=")
			if !ok {
				return fmt.Errorf("%q is not an option", o)
			}
			s.option(name, strings.Split(value, ","))
		}
		rest = after
	}
	part := strings.Fields(rest)
	if len(part) < 2 {
		return errors.New("the source needs a URI and a suite")
	}
	s.URI, s.Suite, s.Components = part[0], part[1], part[2:]
	return s.check()
}

// option sets what an option or field means here; others change nothing that matters.
func (s *Source) option(name string, values []string) {
	switch strings.ToLower(name) {
	case "arch", "architectures":
		s.Architectures = values
	case "signed-by":
		s.SignedBy = values
	case "trusted":
		s.Trusted = yes(values)
	case "check-valid-until":
		s.NeverExpires = len(values) == 1 && !yes(values)
	}
}

func yes(values []string) bool {
	return len(values) == 1 && slices.Contains([]string{"yes", "true", "1", "on", "with", "enable"}, strings.ToLower(values[0]))
}

// ParseSources parses a file of the deb822 format.
func ParseSources(file string, data []byte) ([]Source, error) {
	var out []Source
	sc := NewScanner(bytes.NewReader(data), true)
	for {
		raw, err := sc.Next()
		if err == io.EOF {
			return out, nil
		}
		var stanza Stanza
		if err == nil {
			stanza, err = ParseStanza(raw)
		}
		var list []Source
		if err == nil {
			list, err = fromStanza(file, sc.Line(), stanza)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, max(sc.Line(), 1), err)
		}
		out = append(out, list...)
	}
}

func fromStanza(file string, line int, stanza Stanza) ([]Source, error) {
	if v := stanza.Words("Enabled"); len(v) > 0 && !yes(v) {
		return nil, nil
	}
	if !slices.Contains(stanza.Words("Types"), "deb") {
		return nil, nil
	}
	uris, suites := stanza.Words("URIs"), stanza.Words("Suites")
	if len(uris) == 0 || len(suites) == 0 {
		return nil, errors.New("a source needs URIs and Suites")
	}
	var out []Source
	for _, uri := range uris {
		for _, suite := range suites {
			s := Source{URI: uri, Suite: suite, File: file, Line: line}
			for _, name := range []string{"Architectures", "Trusted", "Check-Valid-Until"} {
				if v := stanza.Words(name); len(v) > 0 {
					s.option(name, v)
				}
			}
			if !strings.HasSuffix(suite, "/") {
				s.Components = stanza.Words("Components")
			}
			s.signedBy(stanza.Get("Signed-By"))
			if err := s.check(); err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// signedBy takes file names and fingerprints, or keys that stand in the field with "." for their empty lines.
func (s *Source) signedBy(value string) {
	if !strings.Contains(value, "-----BEGIN PGP PUBLIC KEY BLOCK-----") {
		s.SignedBy = strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ,\t\n", r) })
		return
	}
	lines := strings.Split(strings.TrimSpace(value), "\n")
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if l == "." {
			l = ""
		}
		lines[i] = l
	}
	s.Key = []byte(strings.Join(lines, "\n") + "\n")
}

func (s *Source) check() error {
	scheme, _, ok := strings.Cut(s.URI, ":")
	if !ok || scheme == "" {
		return fmt.Errorf("%q is not a URI", s.URI)
	}
	flat := strings.HasSuffix(s.Suite, "/")
	switch {
	case flat && len(s.Components) > 0:
		return fmt.Errorf("the suite %q is flat and has no components", s.Suite)
	case !flat && len(s.Components) == 0:
		return fmt.Errorf("the suite %q needs components", s.Suite)
	}
	if s.Suite != "/" {
		if err := checkPath(s.Suite); err != nil {
			return err
		}
	}
	for _, c := range s.Components {
		if err := checkPath(c); err != nil {
			return err
		}
	}
	return nil
}

// Flat reports whether the repository has no suites and components, only one directory.
func (s *Source) Flat() bool { return strings.HasSuffix(s.Suite, "/") }

// For gives the source for an architecture, whose name may stand as a variable in it.
func (s Source) For(arch string) Source {
	s.URI = strings.ReplaceAll(s.URI, "$(ARCH)", arch)
	s.Suite = strings.ReplaceAll(s.Suite, "$(ARCH)", arch)
	return s
}

// Dir is the URL of the directory with the Release file.
func (s *Source) Dir() string {
	if s.Flat() {
		return Join(s.URI, s.Suite)
	}
	return Join(s.URI, "dists/"+s.Suite)
}
