package simplestreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	maxCatalogs = 64       // lists of products in an index; Ubuntu's has about ten
	maxItem     = 16 << 30 // bytes of an image
	maxPath     = 1024     // bytes of a path
)

// parseIndex gives the paths of a server's lists of images, in the order of their names.
func parseIndex(text []byte) ([]string, error) {
	var doc struct {
		Format string
		Index  map[string]struct{ Datatype, Format, Path string }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, badJSON(err)
	}
	if doc.Format != "index:1.0" {
		return nil, fmt.Errorf("the index has the format %.40q, not index:1.0", doc.Format)
	}
	var paths []string
	for _, c := range doc.Index {
		if c.Datatype != "image-downloads" || c.Format != "" && c.Format != "products:1.0" {
			continue // ids of images in clouds, for example
		}
		if err := checkPath(c.Path); err != nil {
			return nil, err
		}
		paths = append(paths, c.Path)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(paths) == 0 || len(paths) > maxCatalogs {
		return nil, fmt.Errorf("the index names %d lists of images", len(paths))
	}
	return paths, nil
}

// product is what is read of one product.
type product struct {
	Aliases, Arch, OS, Release, Version, Variant string
	Versions                                     map[string]struct{ Items map[string]item }
}

type item struct {
	FType, Path, SHA256 string
	Size                int64
}

// readProducts calls use with each product whose name may be of interest; the others are not decoded.
func readProducts(text []byte, interesting func(name string) bool, use func(name string, p *product) error) error {
	r := jsonReader{json.NewDecoder(bytes.NewReader(text))}
	err := r.object(func(key string) error {
		switch key {
		case "format":
			var format string
			if err := r.d.Decode(&format); err != nil {
				return err
			}
			if format != "products:1.0" {
				return fmt.Errorf("its format is %.40q, not products:1.0", format)
			}
			return nil
		case "products":
			return r.object(func(name string) error {
				if !interesting(name) {
					return r.skip()
				}
				var p product
				if err := r.d.Decode(&p); err != nil {
					return fmt.Errorf("product %.80q: %w", name, badJSON(err))
				}
				return use(name, &p)
			})
		}
		return r.skip()
	})
	if err != nil {
		return badJSON(err)
	}
	if _, err := r.d.Token(); err != io.EOF {
		return errors.New("there is something after the end of the document")
	}
	return nil
}

// jsonReader goes through a document without holding it as values.
type jsonReader struct{ d *json.Decoder }

// object calls f at the value of each key of the object that comes next; f consumes it.
func (r jsonReader) object(f func(key string) error) error {
	t, err := r.d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("an object is something else")
	}
	for r.d.More() {
		t, err := r.d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if err := f(key); err != nil {
			return err
		}
	}
	_, err = r.d.Token()
	return err
}

func (r jsonReader) skip() error {
	var value json.RawMessage
	return r.d.Decode(&value)
}

// badJSON says in one voice what encoding/json says in many.
func badJSON(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("it is not JSON, or cut short")
	case errors.As(err, &kind):
		return fmt.Errorf("a %.20s stands where another value belongs (%.80q)", kind.Value, kind.Field)
	}
	return err
}

// checkPath refuses what could lead anywhere but below the server's URL, or mean something in a URL.
func checkPath(p string) error {
	ok := p != "" && len(p) <= maxPath && strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:+~=,-/") == ""
	for part := range strings.SplitSeq(p, "/") {
		ok = ok && part != "" && part != "." && part != ".."
	}
	if !ok {
		return fmt.Errorf("%.200q is not a path below the server", p)
	}
	return nil
}
