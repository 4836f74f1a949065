package desktop

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Limit is how many bytes a desktop entry may have.
const Limit = 256 << 10

const mainGroup, actionGroup = "Desktop Entry", "Desktop Action "

// Entry is what a desktop entry says. Values are as in the file, escapes and all.
type Entry struct {
	groups map[string]*group
}

type group struct {
	keys   []string // in the order of the file, with their locale: Name[de]
	values map[string]string
}

var (
	keyForm    = pattern(`^[A-Za-z0-9-]+(\[[A-Za-z0-9_.@-]+\])?$`)
	actionForm = pattern(`^[A-Za-z0-9-]+$`)
)

// pattern is a regular expression that is compiled when it is needed: every command would pay for it.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// Parse reads a desktop entry. Comments are dropped; anything that the specification does not allow is an error that names
// the line.
func Parse(text []byte) (*Entry, error) {
	if len(text) > Limit {
		return nil, fmt.Errorf("it has more than %d bytes", Limit)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	e := &Entry{groups: map[string]*group{}}
	var at *group
	n := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		var err error
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case line[0] == '[':
			at, err = e.begin(line)
		case at == nil:
			err = errors.New("a key before the first group")
		default:
			err = at.add(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if e.groups[mainGroup] == nil {
		return nil, fmt.Errorf("it has no group [%s]", mainGroup)
	}
	return e, nil
}

func (e *Entry) begin(line string) (*group, error) {
	name, ok := strings.CutSuffix(strings.TrimRight(line[1:], " \t"), "]")
	if !ok || strings.ContainsAny(name, "[]") || hasControl(name) {
		return nil, errors.New("not the name of a group")
	}
	if e.groups[name] != nil {
		return nil, fmt.Errorf("the group [%s] is there twice", name)
	}
	g := &group{values: map[string]string{}}
	e.groups[name] = g
	return g, nil
}

func (g *group) add(line string) error {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimRight(key, " \t"), strings.TrimLeft(value, " \t")
	if !ok || !keyForm().MatchString(key) {
		return errors.New("not KEY=VALUE")
	}
	if hasControl(value) {
		return fmt.Errorf("a control character in the value of %s", key)
	}
	if _, twice := g.values[key]; twice {
		return fmt.Errorf("the key %s is there twice", key)
	}
	g.keys = append(g.keys, key)
	g.values[key] = value
	return nil
}

// hasControl looks for what could end a line, or change how it is shown, in some reader.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r != '\t' && unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	})
}

func (e *Entry) value(key string) string { return e.groups[mainGroup].values[key] }

// Name is what the application is called, without a locale.
func (e *Entry) Name() string { return unescape(e.value("Name")) }

// Icon is the name of the icon, or its absolute path.
func (e *Entry) Icon() string { return unescape(e.value("Icon")) }

// Application tells whether the entry starts a program.
func (e *Entry) Application() bool {
	return e.value("Type") == "Application" && e.value("Exec") != "" && e.value("Name") != "" && e.value("Hidden") != "true"
}

// Shown tells whether menus show the entry.
func (e *Entry) Shown() bool { return e.value("NoDisplay") != "true" }

// actions are the additional actions that the entry has, in its order.
func (e *Entry) actions() (names []string) {
	for name := range strings.SplitSeq(e.value("Actions"), ";") {
		g := e.groups[actionGroup+name]
		if actionForm().MatchString(name) && g != nil && g.values["Name"] != "" && g.values["Exec"] != "" {
			names = append(names, name)
		}
	}
	return names
}

// unescape undoes the escapes of string values.
func unescape(s string) string {
	return strings.NewReplacer(`\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r", `\\`, `\`).Replace(s)
}

// escape is the opposite of unescape, for values without control characters.
func escape(s string) string {
	s = strings.ReplaceAll(s, `\`, `\\`)
	if strings.HasPrefix(s, " ") {
		s = `\s` + s[1:]
	}
	return s
}
