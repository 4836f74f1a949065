package main

import (
	"reflect"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// dict is a{sv}: what the command line prints as a JSON object, with the same names.
type dict = map[string]dbus.Variant

// dictionary makes a dict of a struct or a pointer to one. Text is s, whole numbers are x, times are s as in RFC 3339. What JSON
// would leave out, or call null, is not there.
func dictionary(v any) dict {
	out := dict{}
	fields(out, reflect.Indirect(reflect.ValueOf(v)))
	return out
}

// maxListed bounds what one answer lists of a store: a message has a greatest size.
const maxListed = 10_000

// dictionaries is aa{sv}, of no more than maxListed.
func dictionaries[T any](all []T) []dict {
	all = all[:min(len(all), maxListed)]
	out := make([]dict, 0, len(all))
	for _, v := range all {
		out = append(out, dictionary(v))
	}
	return out
}

func fields(out dict, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported(), name == "-", strings.Contains(rest, "omitempty") && v.Field(i).IsZero():
			continue
		case f.Anonymous && name == "":
			fields(out, reflect.Indirect(v.Field(i)))
			continue
		case name == "":
			name = f.Name
		}
		if value := plain(v.Field(i)); value != nil {
			out[name] = dbus.MakeVariant(value)
		}
	}
}

// text is s as the bus allows it: the bus closes the connection of who sends anything else.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// plain is a value in one of the types of the bus that are used; nil if there is none.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.String:
		return text(v.String())
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t.Format(time.RFC3339Nano)
		}
		out := dict{}
		fields(out, v)
		return out
	case reflect.Slice:
		return plainList(v)
	}
	return nil
}

func plainList(v reflect.Value) any {
	if v.Type().Elem().Kind() == reflect.String {
		out := make([]string, 0, v.Len())
		for i := range v.Len() {
			out = append(out, plain(v.Index(i)).(string))
		}
		return out
	}
	n := min(v.Len(), maxListed)
	out := make([]dict, 0, n)
	for i := range n {
		d, ok := plain(v.Index(i)).(dict)
		if !ok {
			return nil
		}
		out = append(out, d)
	}
	return out
}
