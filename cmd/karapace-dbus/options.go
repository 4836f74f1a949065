package main

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/godbus/dbus/v5"
)

// options are what a caller says beside what a method needs. The first thing wrong with them is kept until the end.
type options struct {
	left  dict
	wrong *dbus.Error
}

func optionsOf(given dict) *options { return &options{left: maps.Clone(given)} }

// take gives the value of an option and forgets it.
func take[T any](o *options, name string) T {
	var value T
	given, ok := o.left[name]
	delete(o.left, name)
	if !ok {
		return value
	}
	value, ok = given.Value().(T)
	if !ok && o.wrong == nil {
		o.wrong = refuse(invalidArgument, "option %q has the type %s, not %s", name, given.Signature(), dbus.SignatureOf(value))
	}
	return value
}

func (o *options) text(name string) string { return take[string](o, name) }
func (o *options) yes(name string) bool    { return take[bool](o, name) }

func (o *options) texts(name string) []string { return take[[]string](o, name) }

// file is an option that names a file. The service has no directory that a caller could mean.
func (o *options) file(name string) string {
	path := o.text(name)
	o.absolute(name, path)
	return path
}

func (o *options) files(name string) []string {
	paths := o.texts(name)
	for _, path := range paths {
		o.absolute(name, path)
	}
	return paths
}

func (o *options) absolute(name, path string) {
	if path != "" && !filepath.IsAbs(path) && o.wrong == nil {
		o.wrong = refuse(invalidArgument, "option %q: %q is not an absolute path", name, path)
	}
}

// end tells what is wrong: also what was given and nobody has taken.
func (o *options) end() *dbus.Error {
	if o.wrong == nil && len(o.left) > 0 {
		o.wrong = refuse(invalidArgument, "there is no option %q", slices.Sorted(maps.Keys(o.left))[0])
	}
	return o.wrong
}
