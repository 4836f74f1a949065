package wire

import (
	"errors"
	"reflect"
	"testing"
)

// Changes come out as they went in, whatever their paths hold, and a part that is cut off is an error.
func TestChanges(t *testing.T) {
	want := []Change{
		{Op: "+", Path: "/a\nb\xff,\x01", Kind: "file", Size: 1 << 40},
		{Op: "+", Path: "/c", Kind: "hardlink", Link: "/a\nb\xff,\x01"},
		{Op: "~", Path: "/", Kind: "directory", What: []string{"mode", "owner"}, OldKind: "directory"},
		{Op: "~", Path: "/d", Kind: "file", Size: 3, What: []string{"content"}, OldKind: "file", OldSize: 7},
		{Op: "-", Path: "/e", Kind: "device"},
	}
	var b []byte
	for _, c := range want {
		b = c.Append(b)
	}
	var got []Change
	keep := func(c Change) error { got = append(got, c); return nil }
	if err := ReadChanges(b, keep); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{string(b[:len(b)-1]), "x", "+\x00/a\x00file\x00much\x00\x00\x00\x000\x00"} {
		if ReadChanges([]byte(bad), keep) == nil {
			t.Errorf("%q is read", bad)
		}
	}
	enough := errors.New("enough")
	if err := ReadChanges(b, func(Change) error { return enough }); err != enough {
		t.Errorf("error is %v", err)
	}
}
