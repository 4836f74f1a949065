package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// document prints v as the one JSON document of a command.
func (p *program) document(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say prints a result for people; --quiet keeps it back.
func (p *program) say(format string, args ...any) {
	if !p.quiet && !p.json {
		fmt.Fprint(p.stdout, printable(fmt.Sprintf(format, args...))+"\n")
	}
}

// table prints rows under headings, columns aligned.
func (p *program) table(rows [][]string) error {
	var widths []int
	oneLine := strings.NewReplacer("\n", "?", "\t", "?") // what comes from an environment makes no rows of its own
	for _, r := range rows {
		for i := range r {
			r[i] = oneLine.Replace(printable(r[i]))
			if i == len(r)-1 { // nothing stands behind it
				break
			}
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	var text []byte
	for _, r := range rows {
		for i, cell := range r {
			text = append(text, cell...)
			if i == len(r)-1 {
				break
			}
			for range widths[i] + 2 - utf8.RuneCountInString(cell) {
				text = append(text, ' ')
			}
		}
		text = append(bytes.TrimRight(text, " "), '\n') // cells at the end may be empty
	}
	_, err := p.stdout.Write(text)
	return err
}

// describe prints what build, rebuild and the like have made.
func (p *program) describe(env engine.Environment) error {
	if p.json {
		return p.document(env)
	}
	name := env.Name
	if name == "" {
		name = "-"
	}
	p.say("%s  %s  %s", env.ShortID, name, env.ImageDigest)
	return nil
}

func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, suffix := float64(n), ""
	for _, s := range []string{"kB", "MB", "GB", "TB"} {
		v, suffix = v/unit, s
		if v < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, suffix)
}

// age is a duration as a person says it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
