// Package distrobox reads the files of "distrobox assemble" (its manual, distrobox-assemble(1)) and says in a manifest what they say of a box, as
// far as a manifest can. It is pure. What it reads comes from others: it is bounded by the caller, and what it writes is parsed
// like any manifest.
package distrobox

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Box is a section of the file.
type Box struct {
	Name string
	Line int
	// values of a key, in order; one may be given several times.
	values map[string][]string
	open   bool // its includes are being read
	// volumes and left are of a container, whose paths may have blanks in them.
	volumes, left []string
}

// Parse reads all boxes, in order. The file is in the format of ini files: sections, KEY=VALUE, comments behind # and ;.
func Parse(text string) ([]*Box, error) {
	var boxes []*Box
	r := reader{named: map[string]*Box{}}
	number := 0
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok || name == "" {
				return nil, fmt.Errorf("line %d: %q is no section", number, line)
			}
			if r.named[name] != nil {
				return nil, fmt.Errorf("line %d: there are two boxes %q", number, name)
			}
			r.named[name] = &Box{Name: name, Line: number, values: map[string][]string{}}
			boxes = append(boxes, r.named[name])
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || len(boxes) == 0 {
			return nil, fmt.Errorf("line %d: %q is no KEY=VALUE of a box", number, line)
		}
		b := boxes[len(boxes)-1]
		key = strings.TrimSpace(key)
		b.values[key] = append(b.values[key], unquoted(strings.TrimSpace(value)))
	}
	for _, b := range boxes {
		if err := r.include(b); err != nil {
			return nil, err
		}
	}
	return boxes, nil
}

// maxIncluded bounds what includes bring into all boxes of a file: each that includes all before it doubles what the next has.
const maxIncluded = 4 << 20

// reader is what is known while the boxes of a file take from each other.
type reader struct {
	named    map[string]*Box
	included int // bytes
}

// include adds what a box takes from others, its own values being the last.
func (r *reader) include(b *Box) error {
	names := b.words("include")
	delete(b.values, "include")
	b.open = true
	defer func() { b.open = false }()
	taken, seen := map[string][]string{}, map[string]bool{}
	for _, name := range slices.Backward(names) {
		other := r.named[name]
		switch {
		case other == nil || other == b:
			return fmt.Errorf("box %q of line %d includes %q, which is no other box", b.Name, b.Line, name)
		case other.open:
			return fmt.Errorf("box %q of line %d includes %q, which includes it: one of them must not", b.Name, b.Line, name)
		case seen[name]:
			return fmt.Errorf("box %q of line %d includes %q twice; once is enough", b.Name, b.Line, name)
		}
		seen[name] = true
		if err := r.include(other); err != nil {
			return err
		}
		for key, values := range other.values {
			for _, v := range values {
				r.included += len(key) + len("=") + len(v)
			}
			if r.included > maxIncluded {
				return fmt.Errorf("box %q of line %d: what the boxes of this file include has more than %d bytes; split the file, or include less", b.Name, b.Line, maxIncluded)
			}
			taken[key] = append(taken[key], values...)
		}
	}
	for key, values := range b.values {
		taken[key] = append(taken[key], values...)
	}
	b.values = taken
	return nil
}

func unquoted(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// last is the value that counts where one does.
func (b *Box) last(key string) string {
	all := b.values[key]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func (b *Box) words(key string) []string { return strings.Fields(strings.Join(b.values[key], " ")) }

// carried are the keys that a manifest has words for, or that mean nothing to it.
var carried = []string{"image", "additional_packages", "volume", "nvidia", "exported_apps", "pull", "replace", "start_now"}

// Manifest is the box as the text of a manifest, and what of it has no place there.
func (b *Box) Manifest() (text string, left []string, err error) {
	image := b.last("image")
	if image == "" {
		return "", nil, errors.New("it names no image, and what distrobox takes then changes with its version: write image=... into it")
	}
	var m strings.Builder
	fmt.Fprintf(&m, "manifest_version = 1\n\n[base]\nimage = %s\n", strconv.Quote(baseImage(image)))
	if packages := b.words("additional_packages"); len(packages) > 0 {
		m.WriteString("\n[system]\npackages = [\n")
		for _, p := range packages {
			fmt.Fprintf(&m, "  %s,\n", strconv.Quote(p))
		}
		m.WriteString("]\n")
	}
	if apps := b.words("exported_apps"); len(apps) > 0 {
		fmt.Fprintf(&m, "\n# karapace export-app %s puts these into the menu: %s\n", b.Name, strings.Join(apps, " "))
	}
	if b.last("nvidia") == "true" {
		m.WriteString("\n[hardware]\ngpu = true\n")
	}
	if volumes := append(b.words("volume"), b.volumes...); len(volumes) > 0 {
		m.WriteString("\n[mounts]\n")
		for i, v := range volumes {
			fmt.Fprintf(&m, "volume%d = %s\n", i+1, strconv.Quote(strings.TrimSuffix(v, ":rw")))
		}
	}
	left = slices.Clone(b.left)
	for key, values := range b.values {
		if !slices.Contains(carried, key) {
			left = append(left, key+"="+strings.Join(values, " "))
		}
	}
	slices.Sort(left)
	return m.String(), left, nil
}

// baseImage writes a name of podman's as a manifest does.
func baseImage(name string) string {
	host, _, hasPath := strings.Cut(name, "/")
	if hasPath && (strings.ContainsAny(host, ".:") || host == "localhost") && host != "docker.io" {
		return "oci://" + name
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
	return "docker://" + path.Clean(name)
}
