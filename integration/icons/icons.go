// Package icons makes the icons of environments harmless to the host: bitmaps are decoded and encoded anew, so that nothing
// but pixels comes through, and drawings that reach for anything outside themselves, or hold scripts, are refused.
package icons

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"strings"
)

// Limit is how many bytes an icon may have.
const Limit = 1 << 20

const maxPixels = 1024 // on a side

// PNG returns the picture, encoded anew, and its size in pixels. It has to be a square.
func PNG(data []byte) (clean []byte, side int, err error) {
	conf, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if conf.Width != conf.Height || conf.Width < 8 || conf.Width > maxPixels {
		return nil, 0, fmt.Errorf("%d by %d pixels are no icon", conf.Width, conf.Height)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, 0, err
	}
	return b.Bytes(), conf.Width, nil
}

const maxDepth, maxElements = 256, 50000

// SVG refuses a drawing that is more than a drawing.
func SVG(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	depth, elements := 0, 0
	for {
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			if elements == 0 || depth != 0 {
				return errors.New("it is no drawing")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			if elements++; depth > maxDepth || elements > maxElements {
				return errors.New("it is too complicated")
			}
			if elements == 1 && t.Name.Local != "svg" {
				return errors.New("it is no drawing")
			}
			err = element(t)
		case xml.EndElement:
			depth--
		case xml.Directive:
			if s := string(t); strings.ContainsAny(s, "[]") || strings.Contains(strings.ToUpper(s), "ENTITY") {
				err = errors.New("it declares entities")
			}
		case xml.ProcInst:
			if t.Target != "xml" {
				err = fmt.Errorf("it has the processing instruction %s", t.Target)
			}
		case xml.CharData:
			err = style(string(t))
		}
		if err != nil {
			return err
		}
	}
}

func element(e xml.StartElement) error {
	switch strings.ToLower(e.Name.Local) {
	case "script", "foreignobject", "iframe", "object", "embed", "audio", "video", "handler", "include", "fallback":
		return fmt.Errorf("it has the element %s", e.Name.Local)
	}
	for _, a := range e.Attr {
		name := strings.ToLower(a.Name.Local)
		value := strings.TrimSpace(a.Value)
		switch {
		case strings.HasPrefix(name, "on"):
			return fmt.Errorf("it has the attribute %s", a.Name.Local)
		case name == "href" || name == "src" || name == "base":
			if value != "" && value[0] != '#' && !strings.HasPrefix(value, "data:image/png;base64,") {
				return fmt.Errorf("it refers to %q", value[:min(40, len(value))])
			}
		default:
			if err := style(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// style looks at what may be style sheets: references within the drawing only, and no way to spell others.
func style(s string) error {
	lower := strings.ToLower(s)
	if strings.Contains(lower, "@import") || strings.Contains(lower, "\\") && strings.Contains(lower, "{") {
		return errors.New("its style sheet asks for more")
	}
	for rest := lower; ; {
		_, after, found := strings.Cut(rest, "url(")
		if !found {
			return nil
		}
		if rest = strings.TrimLeft(after, " \t\n\"'"); !strings.HasPrefix(rest, "#") {
			return errors.New("its style refers to something else")
		}
	}
}
