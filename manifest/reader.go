package manifest

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// table reads the keys of one table and reports what has the wrong type.
type table struct {
	*document
	node *node // nil when the document has no such table
	name string
}

// at gives where to report that something is missing from the table.
func (t table) at() int {
	if t.node == nil {
		return 0
	}
	return t.node.offset
}

func (t table) has(key string) bool { return t.node != nil && t.node.find(key) != nil }

// value gives the value of a key if it has the kind; want says in the message what the value must be, example how to write it.
func (t table) value(key string, k kind, want, example string) *node {
	if t.node == nil {
		return nil
	}
	e := t.node.find(key)
	if e == nil {
		return nil
	}
	if e.value.kind == k {
		return e.value
	}
	name := joinKey(t.name, key)
	t.report(e.value.offset, name, fmt.Sprintf("%s must be %s, not %s", name, want, e.value.kind), "write "+t.fix(key, e.value, k, example))
	return nil
}

// fix writes the line the user meant where the value shows it, else the example.
func (t table) fix(key string, v *node, k kind, example string) string {
	word := strings.TrimSpace(v.text)
	switch {
	case k == kindList && v.kind == kindString && ValidPackageName(word):
		example = fmt.Sprintf("[%q]", word)
	case k == kindBool && v.kind == kindString && (word == "true" || word == "false"):
		example = word
	case k == kindInteger && v.kind == kindString && isDecimal(word) && len(word) < 10:
		example = word
	case k == kindString && (v.kind == kindInteger || v.kind == kindBool || v.kind == kindOther):
		example = quote(string(t.data[v.offset:v.end]))
	case k == kindTable:
		return example
	}
	return key + " = " + example
}

// text gives a string; n is nil when there is none.
func (t table) text(key, example string) (s string, n *node) {
	if n = t.value(key, kindString, "a string", example); n == nil {
		return "", nil
	}
	return strings.TrimSpace(n.text), n
}

func (t table) truth(key string) bool {
	n := t.value(key, kindBool, "true or false", "true")
	return n != nil && n.truth
}

func (t table) number(key, example string) (int64, *node) {
	n := t.value(key, kindInteger, "a number", example)
	if n == nil {
		return 0, nil
	}
	return n.number, n
}

// texts gives the strings of a list, not trimmed.
func (t table) texts(key, example string) []*node {
	n := t.value(key, kindList, "a list", example)
	if n == nil {
		return nil
	}
	var list []*node
	for _, element := range n.list {
		if element.kind == kindString {
			list = append(list, element)
			continue
		}
		name := joinKey(t.name, key)
		t.report(element.offset, name, fmt.Sprintf("an entry of %s must be a string, not %s", name, element.kind),
			fmt.Sprintf("write %s = %s", key, example))
	}
	return list
}

// strings goes over a table whose keys are the user's choice and whose values are strings.
func (t table) strings(example string) iter.Seq2[entry, *node] {
	return func(yield func(entry, *node) bool) {
		if t.node == nil {
			return
		}
		for _, e := range t.node.entries {
			if n := t.value(e.key, kindString, "a string", example); n != nil && !yield(e, n) {
				return
			}
		}
	}
}

// table gives a table below this one; it may be absent, which is as good as empty.
func (t table) table(key string) table {
	name := joinKey(t.name, key)
	return table{t.document, t.value(key, kindTable, "a table", "["+name+"] on a line of its own, and its settings below"), name}
}

// only reports every key that is not known. elsewhere tells where such a key belongs, "" if nowhere.
func (t table) only(known []string, elsewhere func(key string) string) {
	if t.node == nil {
		return
	}
	for _, e := range t.node.entries {
		if slices.Contains(known, e.key) {
			continue
		}
		where := ""
		if t.name != "" {
			where = " in [" + t.name + "]"
		}
		key := joinKey("", e.key)
		remedy := "known here: " + strings.Join(known, ", ")
		if home := elsewhere(e.key); home != "" {
			remedy = home
		} else if near := nearest(e.key, known); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		t.report(e.offset, joinKey(t.name, e.key), fmt.Sprintf("unknown key %s%s", key, where), remedy)
	}
}

// refuse reports c, if any, at a value.
func (t table) refuse(n *node, key string, c *complaint) {
	if c != nil {
		t.report(n.offset, joinKey(t.name, key), c.msg, c.remedy)
	}
}
