package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// clean takes out of a text whatever could act on the terminal or mislead the eye: control characters, broken UTF-8, line breaks,
// marks of direction and invisible ones. A joiner stays, it makes one character of several.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r == '\u200d':
			return r
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
			return '?'
		}
		return r
	}, s)
}

// cell makes a text exactly as wide as a column.
func cell(s string, width int) string {
	if width <= 0 {
		return ""
	}
	s = ansi.Truncate(s, width, "…")
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// right is cell with the text at the right end.
func right(s string, width int) string {
	s = ansi.Truncate(s, max(0, width), "…")
	return strings.Repeat(" ", max(0, width-ansi.StringWidth(s))) + s
}

func label(e engine.Environment) string {
	if e.Name != "" {
		return clean(e.Name)
	}
	return clean(e.ShortID)
}

// short is as many digits of a digest as a person types.
func short(digest string) string {
	if digest == "" {
		return "built"
	}
	if _, hex, ok := strings.Cut(digest, ":"); ok {
		digest = hex
	}
	return clean(digest[:min(12, len(digest))])
}

func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, suffix := float64(n), ""
	for _, s := range []string{"kB", "MB", "GB", "TB"} {
		v, suffix = v/1000, s
		if v < 1000 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, suffix)
}

func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
