package manifest

import (
	"bytes"
	"slices"
)

// WithBaseImage gives the text of a manifest with another base.image. Every other byte stays: comments, order, line
// ends. The text must be one that Parse accepts; what it gives is one too.
func WithBaseImage(file string, text []byte, image string) ([]byte, error) {
	if _, err := Parse(file, text); err != nil {
		return nil, err
	}
	d := &document{file: file, data: text}
	tree := d.read(MaxSize)
	value := tree.find("base").value.find("image").value
	var quoted lockWriter
	quoted.quoted(image)
	shift := len(text) - len(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))) // positions are counted behind the mark
	out := slices.Concat(text[:shift+value.offset], quoted, text[shift+value.end:])
	if m, err := Parse(file, out); err != nil {
		return nil, err
	} else if m.Base.Image != image {
		return nil, &Error{File: file, Key: "base.image", Msg: "base.image cannot be replaced here", Remedy: "write image = " + quote(image)}
	}
	return out, nil
}
