// Package cdiyaml reads the YAML that tools write specifications of the Container Device Interface in: mappings and sequences
// in block style, and scalars on one line, plain or quoted. It is a small part of YAML 1.2, and everything else (anchors, tags,
// block scalars, flow collections that are not empty, several documents) is an error: nothing is guessed, and a file that is not
// understood is not used. The libraries that read all of YAML cost every start of the program more than it takes to read such a file.
//
// All scalars become strings, null and the empty value nil, mappings map[string]any and sequences []any. Input is bounded by its caller,
// depth here.
package cdiyaml

import (
	"errors"
	"fmt"
	"strings"
)

const maxDepth = 16

type line struct {
	number, indent int
	text           string // without indentation, comment and what follows the value
}

type parser struct {
	lines []line
	depth int
}

// Parse reads one document.
func Parse(text []byte) (any, error) {
	p := &parser{}
	number := 0
	for raw := range strings.Lines(string(text)) {
		number++
		raw = strings.TrimRight(raw, " \r\n")
		trimmed := strings.TrimLeft(raw, " ")
		switch {
		case trimmed == "" || trimmed[0] == '#', trimmed == "---" && len(p.lines) == 0 && raw == trimmed:
			continue
		case strings.ContainsFunc(trimmed, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, fmt.Errorf("line %d has a control character", number)
		case raw == "---" || raw == "..." || trimmed[0] == '%':
			return nil, fmt.Errorf("line %d begins another document or a directive", number)
		}
		p.lines = append(p.lines, line{number, len(raw) - len(trimmed), trimmed})
	}
	if len(p.lines) == 0 {
		return nil, errors.New("it is empty")
	}
	value, err := p.block(p.lines[0].indent)
	if err == nil && len(p.lines) > 0 {
		err = p.unexpected()
	}
	return value, err
}

func (p *parser) unexpected() error {
	return fmt.Errorf("line %d is not indented as expected", p.lines[0].number)
}

// block reads the mapping or sequence whose lines have the indentation.
func (p *parser) block(indent int) (any, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("line %d is deeper than %d", p.lines[0].number, maxDepth)
	}
	defer func() { p.depth-- }()
	if isItem(p.lines[0].text) {
		return p.sequence(indent)
	}
	return p.mapping(indent)
}

func isItem(text string) bool { return text == "-" || strings.HasPrefix(text, "- ") }

func (p *parser) sequence(indent int) (any, error) {
	list := []any{}
	for len(p.lines) > 0 && p.lines[0].indent == indent && isItem(p.lines[0].text) {
		first := &p.lines[0]
		rest := strings.TrimLeft(first.text[1:], " ")
		if rest == "" {
			return nil, fmt.Errorf("line %d has an item with nothing on its line", first.number)
		}
		if _, _, isKey, err := cutKey(rest); err != nil {
			return nil, fmt.Errorf("line %d: %w", first.number, err)
		} else if !isKey && !isItem(rest) {
			value, err := scalar(rest)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", first.number, err)
			}
			list = append(list, value)
			p.lines = p.lines[1:]
			continue
		}
		first.indent += len(first.text) - len(rest) // what stands behind the dash begins a block of its own
		first.text = rest
		value, err := p.block(first.indent)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, p.ended(indent)
}

func (p *parser) mapping(indent int) (any, error) {
	m := map[string]any{}
	for len(p.lines) > 0 && p.lines[0].indent == indent && !isItem(p.lines[0].text) {
		at := p.lines[0]
		key, rest, isKey, err := cutKey(at.text)
		if err == nil && !isKey {
			err = errors.New("no key")
		}
		if _, twice := m[key]; err == nil && twice {
			err = fmt.Errorf("the key %q stands twice", key)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at.number, err)
		}
		p.lines = p.lines[1:]
		switch {
		case rest != "":
			m[key], err = scalar(rest)
		case len(p.lines) > 0 && (p.lines[0].indent > indent || p.lines[0].indent == indent && isItem(p.lines[0].text)):
			if m[key], err = p.block(p.lines[0].indent); err != nil {
				return nil, err
			}
		default:
			m[key] = nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at.number, err)
		}
	}
	return m, p.ended(indent)
}

// ended says whether what follows belongs to a block further out.
func (p *parser) ended(indent int) error {
	if len(p.lines) > 0 && p.lines[0].indent > indent {
		return p.unexpected()
	}
	return nil
}

// cutKey gives a line's key and what follows it.
func cutKey(text string) (key, rest string, ok bool, err error) {
	if text[0] == '"' || text[0] == '\'' {
		end := strings.IndexByte(text[1:], text[0])
		if end < 0 || !strings.HasPrefix(text[end+2:], ":") {
			return "", "", false, nil
		}
		name, err := scalar(text[:end+2])
		if err != nil {
			return "", "", false, err
		}
		key, _ = name.(string)
		rest = text[end+3:]
	} else if key, rest, ok = strings.Cut(text, ": "); !ok {
		if key, ok = strings.CutSuffix(text, ":"); !ok {
			return "", "", false, nil
		}
	}
	if strings.ContainsAny(key, "#&*!|>%@`{}[],?") || key == "" || key == "<<" {
		return "", "", false, fmt.Errorf("the key %q is of no kind that is read here", key)
	}
	if rest = strings.TrimLeft(rest, " "); strings.HasPrefix(rest, "#") {
		rest = ""
	}
	return key, rest, true, nil
}

// scalar reads a value that stands on one line.
func scalar(text string) (any, error) {
	if text[0] == '"' || text[0] == '\'' {
		return quoted(text)
	}
	if i := strings.Index(text, " #"); i >= 0 {
		text = strings.TrimRight(text[:i], " ")
	}
	switch text[0] {
	case '[', '{':
		switch text {
		case "[]":
			return []any{}, nil
		case "{}":
			return map[string]any{}, nil
		}
		return nil, errors.New("a collection in flow style")
	case '&', '*', '!', '|', '>', '%', '@', '`', ',', ']', '}', '?':
		return nil, fmt.Errorf("a value that begins with %q", text[0])
	}
	if text == "null" || text == "~" {
		return nil, nil
	}
	if strings.Contains(text, ": ") || strings.HasSuffix(text, ":") {
		return nil, errors.New("a mapping within a line")
	}
	return text, nil
}

func quoted(text string) (any, error) {
	end := strings.LastIndexByte(text, text[0])
	inner := ""
	if end > 0 {
		inner = text[1:end]
	}
	rest := strings.TrimLeft(text[end+1:], " ")
	if end == 0 || rest != "" || strings.IndexByte(inner, text[0]) >= 0 || text[0] == '"' && strings.Contains(inner, `\`) {
		return nil, errors.New("a quoted value with an escape, or with something behind it")
	}
	return inner, nil
}
