package main

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// Update takes a message. It never waits.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.settle()
		return m, m.gather(false)
	case tea.ResumeMsg:
		return m, m.look()
	case listMsg:
		m.bad = msg.bad
		m.take(msg.all)
		return m, tea.Batch(lookLater(msg.took), m.gather(true))
	case lookMsg:
		return m, m.look()
	case factsMsg:
		m.asking = false
		for _, f := range msg {
			m.facts[string(f.env.EnvID)] = f
		}
		return m, m.gather(false)
	case pageMsg:
		m.fill(msg)
		return m, nil
	case progressMsg:
		m.record(msg)
		if m.job == nil {
			return m, nil
		}
		return m, m.job.next()
	case jobMsg:
		m.finish(msg)
		return m, m.refresh()
	case sessionMsg:
		if msg.err != nil {
			m.fail(sentence(msg.err))
		}
		return m, m.refresh()
	case tea.KeyMsg:
		return m.typed(msg)
	}
	return m, nil
}

// typed takes keys one by one: those typed fast come together. A paste is text, and no keys.
func (m *model) typed(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if k.Type != tea.KeyRunes || len(k.Runes) < 2 || m.prompt != nil {
		return m.key(k)
	}
	if k.Paste {
		return m, nil
	}
	var work []tea.Cmd
	for _, r := range k.Runes {
		_, cmd := m.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		work = append(work, cmd)
	}
	return m, tea.Batch(work...)
}

// refresh looks at everything that is seen anew, once; the regular look goes on beside it.
func (m *model) refresh() tea.Cmd {
	clear(m.facts)
	return m.gather(false)
}

// settle keeps marks inside what is seen.
func (m *model) settle() {
	m.list.move(m.list.at, len(m.shown), m.listRows())
	if m.page != nil {
		m.page.move(m.page.at, len(m.page.lines), m.pageRows())
	}
}

func (m *model) fill(msg pageMsg) {
	if msg.page != m.page {
		return // it was left
	}
	m.page.loading, m.page.lines, m.page.snapshots = false, msg.lines, msg.snapshots
	if msg.err != nil {
		m.leave()
		m.fail(sentence(msg.err))
		return
	}
	if len(msg.lines) == 0 {
		m.page.lines = []string{map[pageKind]string{diffPage: "nothing was changed", gcPage: "nothing to remove"}[m.page.kind]}
		if m.page.kind == gcPage {
			m.page.kind = helpPage // there is nothing to say y to
		}
	}
}

func (m *model) key(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	switch {
	case k.Type == tea.KeyCtrlZ:
		return m, tea.Suspend
	case m.prompt != nil:
		return m, m.promptKey(k)
	case k.Type == tea.KeyCtrlC && m.job != nil:
		m.job.cancel()
		m.say("interrupting " + m.job.what + " …")
		return m, nil
	case k.Type == tea.KeyCtrlC:
		return m, tea.Quit
	}
	m.status, m.failed = "", false
	if m.page != nil {
		return m, m.pageKey(k.String())
	}
	return m, m.listKey(k.String())
}

// promptKey edits the line. What is not printed does not come in: a pasted text may hold anything.
func (m *model) promptKey(k tea.KeyMsg) tea.Cmd {
	p := m.prompt
	switch k.Type {
	case tea.KeyEsc, tea.KeyCtrlC:
		m.prompt = nil
		if p.live {
			return p.done(m, "")
		}
		return nil
	case tea.KeyEnter:
		text := string(p.text)
		m.prompt = nil
		if p.check != nil && !p.check(text) {
			m.say("nothing was done")
			return nil
		}
		return p.done(m, text)
	case tea.KeyBackspace:
		p.text = p.text[:max(0, len(p.text)-1)]
	case tea.KeyCtrlU:
		p.text = nil
	case tea.KeySpace, tea.KeyRunes:
		p.text = append(p.text, []rune(clean(string(k.Runes)))...)
	}
	if p.live {
		return p.done(m, string(p.text))
	}
	return nil
}

// jump is where a key of movement leads in a list of n; ok is false for other keys.
func jump(key string, s scroll, n, rows int) (to int, ok bool) {
	switch key {
	case "up", "k":
		return s.at - 1, true
	case "down", "j":
		return s.at + 1, true
	case "pgup", "ctrl+b":
		return s.at - rows, true
	case "pgdown", "ctrl+f", " ":
		return s.at + rows, true
	case "home", "g":
		return 0, true
	case "end", "G":
		return n - 1, true
	}
	return 0, false
}

func (m *model) listKey(key string) tea.Cmd {
	if to, ok := jump(key, m.list, len(m.shown), m.listRows()); ok {
		m.list.move(to, len(m.shown), m.listRows())
		return m.gather(false)
	}
	switch key {
	case "q":
		if m.job != nil {
			m.fail(m.job.what + " is not done: ctrl+c interrupts it")
			return nil
		}
		return tea.Quit
	case "/":
		return m.askSearch()
	case "esc":
		m.filter = ""
		m.search()
		m.settle()
		return m.gather(false)
	case "?":
		m.page = &page{kind: helpPage, title: "keys", lines: strings.Split(helpText, "\n")}
		return nil
	case "l":
		return m.openLog()
	case "b":
		return m.askBuild()
	case "z":
		return m.openGC()
	}
	e, ok := m.selected()
	if !ok {
		return nil
	}
	return m.act(key, e)
}

func (m *model) pageKey(key string) tea.Cmd {
	p := m.page
	if to, ok := jump(key, p.scroll, len(p.lines), m.pageRows()); ok {
		p.move(to, len(p.lines), m.pageRows())
		return nil
	}
	switch {
	case key == "esc" || key == "q" || key == "left":
		m.leave()
	case key == "y" && p.kind == gcPage && !p.loading:
		m.leave()
		return m.start(gc, "gc", "", "")
	case (key == "enter" || key == "r") && p.kind == snapshotsPage && p.at < len(p.snapshots):
		m.askRestore(p.env, p.snapshots[p.at])
	case p.kind == detailsPage:
		return m.act(key, p.env)
	}
	return nil
}

func (m *model) openLog() tea.Cmd {
	m.leave()
	if m.log == nil {
		m.say("nothing was done yet")
		return nil
	}
	m.page = &page{kind: logPage, title: "log", lines: m.log}
	m.page.move(len(m.log), len(m.log), m.pageRows())
	return nil
}
