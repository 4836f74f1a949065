package icons

import (
	"bytes"
	"image"
	"image/png"
	"testing"
)

func picture(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPNG(t *testing.T) {
	data := picture(t, 48, 48)
	clean, side, err := PNG(append(bytes.Clone(data), "behind the end"...))
	if err != nil || side != 48 || !bytes.Equal(clean, data) {
		t.Errorf("side %d, %v, %d bytes of %d", side, err, len(clean), len(data))
	}
	for name, bad := range map[string][]byte{"large": picture(t, 1025, 1025), "oblong": picture(t, 48, 24), "cut": data[:len(data)-20], "none": nil} {
		if _, _, err := PNG(bad); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestSVG(t *testing.T) {
	good := `<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><style>a{fill:red}</style>
<defs><g id="a"/></defs><use xlink:href="#a" style="fill:url(#a)"/><image href="data:image/png;base64,AA"/></svg>`
	if err := SVG([]byte(good)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		``, `<html/>`, `<svg>`, `<svg><script/></svg>`, `<svg onload="x"/>`, `<svg><image href="file:///etc/passwd"/></svg>`,
		`<svg><use xlink:href="http://x/#a"/></svg>`, `<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>`,
		`<svg><g style="fill:url( 'http://x')"/></svg>`, `<svg><style>@import "x";</style></svg>`, `<svg><style>a{b:u\72l(x)}</style></svg>`,
		`<?xml-stylesheet href="x"?><svg/>`, `<svg xml:base="http://x"/>`, `<svg><foreignObject/></svg>`,
	} {
		if SVG([]byte(bad)) == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}
