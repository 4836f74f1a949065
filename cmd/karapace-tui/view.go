package main

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// accent is the one colour: of the name of what is seen, and of the mark.
const accent = lipgloss.Color("6")

func bold(s string) string  { return lipgloss.NewStyle().Foreground(accent).Bold(true).Render(s) }
func faint(s string) string { return lipgloss.NewStyle().Faint(true).Render(s) }
func marked(s string) string {
	return lipgloss.NewStyle().Foreground(accent).Bold(true).Reverse(true).Render(s)
}

// View draws what is seen and no more: as many lines as the terminal has, none wider than it is.
func (m *model) View() string {
	if m.width < 1 || m.height < 1 {
		return ""
	}
	var body []string
	if m.page != nil {
		body = m.pageView()
	} else {
		body = m.listView()
	}
	rows := max(1, m.height-2)
	body = body[:min(len(body), rows)]
	for len(body) < rows {
		body = append(body, "")
	}
	body = append(body, m.statusLine(), faint(m.hints()))
	body = body[len(body)-min(len(body), m.height):]
	for i := range body {
		body[i] = ansi.Truncate(body[i], m.width, "")
	}
	return strings.Join(body, "\n")
}

func (m *model) listRows() int { return max(1, m.height-4) }
func (m *model) pageRows() int { return max(1, m.height-4) }

// visible are the environments that are seen.
func (m *model) visible() []engine.Environment {
	top := min(m.list.top, len(m.shown))
	return m.shown[top:min(len(m.shown), top+m.listRows())]
}

// head has a title at the left end and a count at the right.
func (m *model) head(title, count string) string {
	space := m.width - ansi.StringWidth(title) - ansi.StringWidth(count) - 2
	if space < 1 {
		return bold(" " + ansi.Truncate(title, max(0, m.width-1), "…"))
	}
	return bold(" "+title) + strings.Repeat(" ", space) + faint(count) + " "
}

func (m *model) listView() []string {
	count := fmt.Sprintf("%d environments", len(m.all))
	if len(m.all) == 1 {
		count = "1 environment"
	}
	if m.filter != "" {
		count = fmt.Sprintf("%d of %d match %s", len(m.shown), len(m.all), clean(m.filter))
	}
	if len(m.bad) > 0 {
		count += fmt.Sprintf(", %d damaged", len(m.bad))
	}
	lines := []string{m.head("karapace", count)}
	switch {
	case !m.loaded:
		return append(lines, "", "  looking …")
	case len(m.all) == 0:
		return append(lines, "", "  no environments yet", faint("  b builds one of a manifest; karapace new writes one"))
	case len(m.shown) == 0:
		return append(lines, "", "  nothing matches; esc shows all")
	}
	c := columnsFor(m.width)
	lines = append(lines, faint("  "+c.line("NAME", "STATE", "SIZE", "DRIFT", "CREATED", "BASE")))
	for i, e := range m.visible() {
		line := m.row(c, e)
		if m.list.top+i == m.list.at {
			lines = append(lines, marked("> "+line))
		} else {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

func (m *model) row(c columns, e engine.Environment) string {
	total, drift := "…", "…"
	if f, ok := m.facts[string(e.EnvID)]; ok {
		total, drift = sizeOr(f.size, "?"), sizeOr(f.drift, "?")
		if f.drift == 0 {
			drift = "-"
		}
	}
	return c.line(label(e), state(e), total, drift, age(m.now().Sub(e.CreatedAt)), clean(e.BaseImage))
}

func sizeOr(n int64, unknown string) string {
	if n < 0 {
		return unknown
	}
	return size(n)
}

// columns are the widths of a line of the list; 0 is a column that has no room.
type columns struct{ name, state, size, drift, created, base int }

func columnsFor(width int) columns {
	c := columns{state: 8}
	if width >= 36 {
		c.drift = 9
	}
	if width >= 48 {
		c.size = 9
	}
	if width >= 64 {
		c.created = 12
	}
	rest := width - 2
	for _, w := range []int{c.state, c.size, c.drift, c.created} {
		if w > 0 {
			rest -= w + 2
		}
	}
	c.name = rest
	if width >= 90 {
		c.base = (rest - 2) / 2
		c.name = rest - 2 - c.base
	}
	return c
}

func (c columns) line(name, state, size, drift, created, base string) string {
	parts := []string{cell(name, c.name), cell(state, c.state)}
	for _, p := range []string{right(size, c.size), right(drift, c.drift), cell(created, c.created), cell(base, c.base)} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "  ")
}

func (m *model) pageView() []string {
	p := m.page
	count := fmt.Sprintf("%d/%d", min(p.at+1, len(p.lines)), len(p.lines))
	if p.loading {
		return []string{m.head(p.title, ""), "", "  looking …"}
	}
	lines := []string{m.head(p.title, count), ""}
	rows := m.pageRows()
	top := min(p.top, len(p.lines))
	for i, line := range p.lines[top:min(len(p.lines), top+rows)] {
		line = ansi.Truncate(line, max(0, m.width-2), "…")
		if top+i == p.at && p.kind != helpPage {
			lines = append(lines, bold("> "+line))
		} else {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

// statusLine is the prompt, or what was said last. Of a long answer the end is seen, where one types.
func (m *model) statusLine() string {
	if p := m.prompt; p != nil {
		text := " " + p.question + string(p.text) + "▏"
		if over := ansi.StringWidth(text) - m.width; over > 0 {
			text = ansi.TruncateLeft(text, over+1, "…")
		}
		return bold(text)
	}
	text := " " + ansi.Truncate(m.status, max(0, m.width-2), "…")
	if m.failed {
		return bold(" ! " + ansi.Truncate(m.status, max(0, m.width-4), "…"))
	}
	return text
}

// hints are keys, as many as fit.
func (m *model) hints() string {
	var keys []string
	switch {
	case m.prompt != nil:
		keys = []string{"enter ok", "esc cancel"}
	case m.page == nil:
		keys = []string{"? help", "q quit", "enter details", "e enter", "x exec", "b build", "s snapshots", "d diff", "c commit", "f freeze", "D destroy", "/ search", "z gc", "l log"}
	case m.page.kind == snapshotsPage:
		keys = []string{"esc back", "enter restore"}
	case m.page.kind == gcPage:
		keys = []string{"esc back", "y remove"}
	case m.page.kind == detailsPage:
		keys = []string{"esc back", "e enter", "x exec", "s snapshots", "d diff", "c commit", "f freeze", "D destroy"}
	case m.page.kind == logPage && m.job != nil:
		keys = []string{"esc back", "ctrl+c interrupt"}
	default:
		keys = []string{"esc back"}
	}
	line := ""
	for i, k := range keys {
		sep := map[bool]string{true: " ", false: " · "}[i == 0]
		if ansi.StringWidth(line+sep+k) > m.width {
			break
		}
		line += sep + k
	}
	return line
}
