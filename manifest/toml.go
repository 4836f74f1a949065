package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

type kind uint8

const (
	kindTable kind = iota
	kindList
	kindString
	kindInteger
	kindBool
	kindOther // floats, dates, times: no document has such a value
)

func (k kind) String() string {
	switch k {
	case kindTable:
		return "a table"
	case kindList:
		return "a list"
	case kindString:
		return "a string"
	case kindInteger:
		return "a number"
	case kindBool:
		return "true or false"
	}
	return "a fraction or date"
}

// origin says how a table came to be, which decides who may extend it (TOML 1.0, "Table" and "Inline Table").
type origin uint8

const (
	byHeaderPath origin = iota // [a.b] makes a
	byHeader                   // [a.b] makes b
	byDottedKey                // a.b = 1 makes a
	inline                     // a = {...}: closed
	byListHeader               // an element of [[a]], and the list a itself
)

// node is one value of a document with its place.
type node struct {
	kind    kind
	origin  origin
	offset  int // where the value begins; for a table with a header, its name in the header
	end     int // where the value ends; not set for tables with a header
	text    string
	number  int64
	truth   bool
	entries []entry
	index   map[string]int // of entries; nil while there are few
	list    []*node
}

type entry struct {
	key    string
	offset int // of the key
	value  *node
}

const indexFrom = 16 // entries

func (n *node) find(key string) *entry {
	if n.index != nil {
		if i, ok := n.index[key]; ok {
			return &n.entries[i]
		}
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

func (n *node) add(key string, offset int, value *node) {
	n.entries = append(n.entries, entry{key, offset, value})
	switch {
	case n.index != nil:
		n.index[key] = len(n.entries) - 1
	case len(n.entries) == indexFrom:
		n.index = make(map[string]int, 2*indexFrom)
		for i, e := range n.entries {
			n.index[e.key] = i
		}
	}
}

// read checks size and encoding and parses the text into a tree. After a problem that leaves no tree it gives nil.
func (d *document) read(limit int) *node {
	if len(d.data) > limit {
		d.report(-1, "", fmt.Sprintf("the file has %d bytes; at most %d are read", len(d.data), limit),
			"check that this is the right file")
		return nil
	}
	d.data = bytes.TrimPrefix(d.data, []byte("\xef\xbb\xbf"))
	if bad := firstInvalid(d.data); bad >= 0 {
		d.report(bad, "", fmt.Sprintf("byte 0x%02x is not text", d.data[bad]), "save the file as UTF-8")
		return nil
	}
	t := treeBuilder{document: d, root: &node{}}
	t.current = t.root
	t.parser.Reset(d.data)
	for t.parser.NextExpression() {
		t.expression(t.parser.Expression())
	}
	var syntax *unstable.ParserError
	if errors.As(t.parser.Error(), &syntax) {
		msg, remedy, offset := explainSyntax(d.data, cap(d.data)-cap(syntax.Highlight), syntax.Message)
		d.problems = nil // a doubled key may be the consequence of a missing quote
		d.report(offset, "", msg, remedy)
		return nil
	}
	return t.root
}

// firstInvalid gives the offset of the first NUL or byte that is not UTF-8, or -1.
func firstInvalid(data []byte) int {
	if utf8.Valid(data) {
		return bytes.IndexByte(data, 0)
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(data[i:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
}

type treeBuilder struct {
	*document
	parser  unstable.Parser
	root    *node
	current *node // the table keys go into
}

func (t *treeBuilder) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.KeyValue:
		t.keyValue(t.current, e)
	case unstable.Table:
		t.header(e, false)
	case unstable.ArrayTable:
		t.header(e, true)
	}
}

// header enters the table of a [a.b] or [[a.b]] line. After a conflict what follows is read into a table of no consequence.
func (t *treeBuilder) header(e *unstable.Node, list bool) {
	at := t.root
	t.current = &node{}
	for it := e.Key(); it.Next(); {
		part := it.Node()
		key, offset := string(part.Data), int(part.Raw.Offset)
		if it.IsLast() {
			table, first := enter(at, key, offset, list)
			if table == nil {
				t.definedTwice(e, offset, first)
				return
			}
			t.current = table
			return
		}
		found := at.find(key)
		if found == nil {
			at.add(key, offset, &node{offset: offset})
			found = at.find(key)
		}
		next := found.value
		if next.kind == kindList && next.origin == byListHeader {
			next = next.list[len(next.list)-1]
		}
		if next.kind != kindTable || next.origin == inline {
			t.definedTwice(e, offset, found.offset)
			return
		}
		at = next
	}
}

// enter gives the table the last part of a header names, or nil and where the key was defined first.
func enter(at *node, key string, offset int, list bool) (table *node, first int) {
	table = &node{offset: offset, origin: byHeader}
	if list {
		table.origin = byListHeader
	}
	found := at.find(key)
	switch {
	case found == nil && list:
		at.add(key, offset, &node{kind: kindList, origin: byListHeader, offset: offset, list: []*node{table}})
	case found == nil:
		at.add(key, offset, table)
	case list && found.value.kind == kindList && found.value.origin == byListHeader:
		found.value.list = append(found.value.list, table)
	case !list && found.value.kind == kindTable && found.value.origin == byHeaderPath:
		found.value.origin, found.value.offset, found.offset = byHeader, offset, offset
		return found.value, 0
	default:
		return nil, found.offset
	}
	return table, 0
}

// keyValue adds "a.b = value" to a table and gives where the value ends.
func (t *treeBuilder) keyValue(at *node, e *unstable.Node) int {
	conflict := false
	for it := e.Key(); it.Next(); {
		part := it.Node()
		key, offset := string(part.Data), int(part.Raw.Offset)
		found := at.find(key)
		last := it.IsLast()
		switch {
		case conflict:
		case found != nil && (last || found.value.kind != kindTable || found.value.origin != byDottedKey):
			t.definedTwice(e, offset, found.offset)
			conflict = true
		case !last && found == nil:
			next := &node{offset: offset, origin: byDottedKey}
			at.add(key, offset, next)
			at = next
		case !last:
			at = found.value
		}
		if last {
			end := offset + int(part.Raw.Length)
			equals := end + bytes.IndexByte(t.data[end:], '=')
			value := t.value(e.Value(), equals+1)
			if !conflict {
				at.add(key, offset, value)
			}
			return value.end
		}
	}
	return 0
}

// value converts a value that begins after offset from, but for white space, commas and comments.
func (t *treeBuilder) value(v *unstable.Node, from int) *node {
	n := &node{offset: t.skip(from), kind: kindOther}
	n.end = n.offset + int(v.Raw.Length)
	switch v.Kind {
	case unstable.String:
		n.kind, n.text = kindString, string(v.Data)
	case unstable.Bool:
		n.kind, n.truth = kindBool, string(v.Data) == "true"
	case unstable.Integer:
		t.integer(n, string(v.Data))
	case unstable.Array:
		n.kind = kindList
		end := n.offset + 1
		for it := v.Children(); it.Next(); {
			element := t.value(it.Node(), end)
			n.list = append(n.list, element)
			end = element.end
		}
		n.end = t.skip(end) + 1
	case unstable.InlineTable:
		n.kind, n.origin = kindTable, inline
		end := n.offset + 1
		for it := v.Children(); it.Next(); {
			end = t.keyValue(n, it.Node())
		}
		n.end = t.skip(end) + 1
	}
	return n
}

func (t *treeBuilder) integer(n *node, digits string) {
	n.kind = kindInteger
	number, err := strconv.ParseInt(strings.ReplaceAll(digits, "_", ""), 0, 64)
	if err != nil {
		t.report(n.offset, "", fmt.Sprintf("the number %s is too large", quote(digits)), "write a smaller number")
	}
	n.number = number
}

// skip gives the offset of the next byte that is no white space, comma or comment.
func (t *treeBuilder) skip(offset int) int {
	for offset < len(t.data) {
		switch t.data[offset] {
		case ' ', '\t', '\r', '\n', ',':
			offset++
		case '#':
			newline := bytes.IndexByte(t.data[offset:], '\n')
			if newline < 0 {
				return len(t.data)
			}
			offset += newline
		default:
			return offset
		}
	}
	return offset
}

// definedTwice reports the part at offset of the key of e; first is where it was defined before.
func (t *treeBuilder) definedTwice(e *unstable.Node, offset, first int) {
	const parts = 8 // shown of a dotted key
	name, n := "", 0
	for it := e.Key(); it.Next() && n < parts && int(it.Node().Raw.Offset) <= offset; n++ {
		name = joinKey(name, string(it.Node().Data))
	}
	shown := name
	if e.Kind != unstable.KeyValue {
		shown = "[" + name + "]"
	}
	line := bytes.Count(t.data[:first], []byte{'\n'}) + 1
	t.report(offset, name, shown+" is defined twice",
		fmt.Sprintf("it stands in line %d already: merge the two, or remove one", line))
}

// joinKey gives the dotted name of key in table, quoted where TOML wants it and cut where it is long.
func joinKey(table, key string) string {
	if key == "" || len(key) > 64 || !onlyAlnumOr(key, "-_") {
		key = quote(key)
	}
	if table == "" {
		return key
	}
	return table + "." + key
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
