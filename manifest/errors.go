package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrTampered marks a lock that is well-formed TOML but not a text Lock.Encode writes: its id does not recompute, a value
// is impossible, an entry is out of order. Test with errors.Is.
var ErrTampered = errors.New("the lock is not as karapace wrote it")

// maxProblems is how many errors of one document are reported; what follows is usually their consequence.
const maxProblems = 10

// Error is one thing wrong with one place of a document.
type Error struct {
	File    string // as the caller named it; empty when the text came from no file
	Line    int    // from 1; 0 when the error is about the whole document
	Column  int    // from 1, in characters
	Key     string // dotted, empty when the error is about no key
	Msg     string
	Remedy  string // what to do about it, a sentence without a full stop
	Source  string // the line's text without its newline
	wrapped error
}

// Error gives the position and message, the source line with a caret below the column, and the remedy.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(e.Msg)
	if e.Source != "" {
		text, indent := excerpt(e.Source, e.Column)
		fmt.Fprintf(&b, "\n    %s\n    %s^", text, indent)
	}
	if e.Remedy != "" {
		b.WriteString("\nhelp: " + e.Remedy)
	}
	return b.String()
}

// Unwrap gives ErrTampered or nil.
func (e *Error) Unwrap() error { return e.wrapped }

// Errors are several errors of one document, in the order of their places. There are at least two.
type Errors struct {
	List []*Error
	More int // how many further ones are not in List
}

func (e *Errors) Error() string {
	texts := make([]string, 0, len(e.List)+1)
	for _, one := range e.List {
		texts = append(texts, one.Error())
	}
	if e.More > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(texts, "\n\n")
}

// Unwrap lets errors.Is and errors.As see every error.
func (e *Errors) Unwrap() []error {
	list := make([]error, len(e.List))
	for i, one := range e.List {
		list[i] = one
	}
	return list
}

const excerptWidth = 120 // characters of a source line shown

// excerpt cuts a source line to what fits around column and makes it safe to print. indent is as wide as the text before it.
func excerpt(line string, column int) (text, indent string) {
	runes := []rune(line)
	for i, r := range runes {
		if r != '\t' && hidden(r) {
			runes[i] = utf8.RuneError
		}
	}
	start, end := 0, len(runes)
	if end > excerptWidth {
		start = max(0, min(column-1-excerptWidth/2, end-excerptWidth))
		end = start + excerptWidth
	}
	var b strings.Builder
	for _, r := range runes[start:min(column-1, end)] {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	text, indent = string(runes[start:end]), b.String()
	if start > 0 {
		text, indent = "..."+text, "   "+indent
	}
	if end < len(runes) {
		text += "..."
	}
	return text, indent
}

// document collects the problems of one text.
type document struct {
	file     string
	data     []byte
	problems []problem
}

type problem struct {
	offset           int // into data; -1 is the whole document
	key, msg, remedy string
	tampered         bool
}

func (d *document) report(offset int, key, msg, remedy string) {
	d.problems = append(d.problems, problem{offset: offset, key: key, msg: msg, remedy: remedy})
}

// remark gives every problem so far one remedy, and marks it as tampering or not.
func (d *document) remark(remedy string, tampered bool) {
	for i := range d.problems {
		d.problems[i].remedy, d.problems[i].tampered = remedy, tampered
	}
}

// err gives nil, an *Error, or *Errors in document order.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b problem) int { return a.offset - b.offset })
	shown := d.problems[:min(len(d.problems), maxProblems)]
	list := make([]*Error, len(shown))
	for i, p := range shown {
		list[i] = d.locate(p)
	}
	if len(list) == 1 {
		return list[0]
	}
	return &Errors{List: list, More: len(d.problems) - len(shown)}
}

func (d *document) locate(p problem) *Error {
	e := &Error{File: d.file, Key: p.key, Msg: p.msg, Remedy: p.remedy}
	if p.tampered {
		e.wrapped = ErrTampered
	}
	if p.offset < 0 {
		return e
	}
	before := string(d.data[:min(p.offset, len(d.data))])
	start := strings.LastIndexByte(before, '\n') + 1
	line, _, _ := strings.Cut(string(d.data[start:]), "\n")
	e.Line = strings.Count(before, "\n") + 1
	e.Column = utf8.RuneCountInString(before[start:]) + 1
	e.Source = strings.TrimSuffix(line, "\r")
	return e
}

// quote shows a value of the document in a message, escaped and cut.
func quote(s string) string {
	const most = 60
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "..."
}

// hidden reports whether a character is invisible or reorders its neighbours. The list is fixed, not taken from the
// Unicode tables of the Go release, because the lock's canonical text depends on it.
func hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f: // controls
	case r == 0xad, r == 0x61c, r == 0xfeff: // soft hyphen, Arabic letter mark, byte order mark
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e: // zero width, separators, direction
	case r >= 0x2060 && r <= 0x206f, r >= 0xfff9 && r <= 0xfffb: // invisible operators, annotations
	case r >= 0xe0000 && r <= 0xe007f: // tags
	default:
		return false
	}
	return true
}
