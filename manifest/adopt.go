package manifest

import (
	"bytes"
	"slices"
	"strings"
)

// WithPackages gives the text of a manifest with more packages in system.packages: those of names that are not there
// yet, behind the others. Every other byte stays: comments, order, line ends. The text must be one that Parse accepts;
// what it gives is one too.
func WithPackages(file string, text []byte, names []string) ([]byte, error) {
	m, err := Parse(file, text)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(m.Packages, n) })
	if len(names) == 0 {
		return text, nil
	}
	body := bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // positions are counted behind the mark
	d := &document{file: file, data: body}
	e := &editor{text: body, newline: "\n"}
	if i := bytes.IndexByte(body, '\n'); i > 0 && body[i-1] == '\r' {
		e.newline = "\r\n"
	}
	e.addPackages(d.read(MaxSize), quotedAll(names))
	out := slices.Concat(text[:len(text)-len(body)], e.text)
	now, err := Parse(file, out)
	if err != nil {
		return nil, err
	}
	want := slices.Concat(m.Packages, names)
	slices.Sort(want)
	if !slices.Equal(now.Packages, slices.Compact(want)) {
		return nil, &Error{File: file, Key: "system.packages", Msg: "system.packages cannot be extended here",
			Remedy: "add " + strings.Join(quotedAll(names), ", ") + " to it"}
	}
	return out, nil
}

func quotedAll(names []string) (all []string) {
	for _, n := range names {
		var w lockWriter
		w.quoted(n)
		all = append(all, string(w))
	}
	return all
}

// editor changes a text at places of the tree that was read from it.
type editor struct {
	text    []byte
	newline string
}

func (e *editor) replace(from, to int, with string) {
	e.text = slices.Concat(e.text[:from], []byte(with), e.text[to:])
}

// lineEnd is where the line of a place ends, before its newline.
func (e *editor) lineEnd(at int) int {
	i := bytes.IndexByte(e.text[at:], '\n')
	if i < 0 {
		return len(e.text)
	}
	if at += i; at > 0 && e.text[at-1] == '\r' {
		at--
	}
	return at
}

func (e *editor) lineStart(at int) int { return bytes.LastIndexByte(e.text[:at], '\n') + 1 }

func (e *editor) addPackages(root *node, quoted []string) {
	list := "[" + strings.Join(quoted, ", ") + "]"
	system := root.find("system")
	switch {
	case system == nil:
		gap := e.newline
		if len(e.text) > 0 && e.text[len(e.text)-1] != '\n' {
			gap += e.newline
		}
		e.replace(len(e.text), len(e.text), gap+"[system]"+e.newline+"packages = "+list+e.newline)
	case system.value.find("packages") != nil:
		e.extend(system.value.find("packages").value, quoted)
	case system.value.origin == inline:
		e.replace(system.value.offset, system.value.end, "{ packages = "+list+" }")
	default:
		at := e.lineEnd(system.value.offset)
		e.replace(at, at, e.newline+"packages = "+list)
	}
}

// extend adds elements to a list as it is written: in its line, or a line each.
func (e *editor) extend(list *node, quoted []string) {
	empty := len(list.list) == 0
	last := list.offset + 1
	if !empty {
		last = list.list[len(list.list)-1].end
	}
	lines := bytes.IndexByte(e.text[last:list.end], '\n') >= 0
	switch {
	case lines && empty:
		at := e.lineStart(list.end)
		e.replace(at, at, "  "+strings.Join(quoted, ","+e.newline+"  ")+","+e.newline)
	case lines:
		e.addLines(last, list.end-1, quoted)
	case empty:
		e.replace(list.offset, list.end, "["+strings.Join(quoted, ", ")+"]")
	default:
		e.replace(last, last, ", "+strings.Join(quoted, ", "))
	}
}

// addLines adds a line for each element behind the one that ends at last, in front of the bracket. A comma behind the last
// one stays one.
func (e *editor) addLines(last, bracket int, quoted []string) {
	comma, end := e.comma(last), ""
	at := e.lineEnd(last)
	if comma >= 0 {
		at, end = min(e.lineEnd(comma), bracket), ","
	}
	indent := e.newline + e.indentOf(last)
	e.replace(at, at, indent+strings.Join(quoted, ","+indent)+end)
	if comma < 0 {
		e.replace(last, last, ",")
	}
}

// comma is where the comma behind an element stands, or -1.
func (e *editor) comma(at int) int {
	for ; at < len(e.text); at++ {
		switch e.text[at] {
		case ' ', '\t', '\r', '\n':
		case '#':
			at = e.lineEnd(at) - 1
		case ',':
			return at
		default:
			return -1
		}
	}
	return -1
}

// indentOf is how far the line of an element stands in, or two blanks where it begins with something else.
func (e *editor) indentOf(at int) string {
	line := e.text[e.lineStart(at):at]
	rest := bytes.TrimLeft(line, " \t")
	if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
		return string(line[:len(line)-len(rest)])
	}
	return "  "
}
