package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
)

// maxLines is how many lines a page or a log holds.
const maxLines = 100_000

type listMsg struct {
	all  []engine.Environment
	bad  []error
	took time.Duration
}

type lookMsg struct{}

type factsMsg []fact

type pageMsg struct {
	page      *page
	lines     []string
	snapshots []string
	err       error
}

type progressMsg struct {
	text   string
	moving bool // the next one replaces it
}

type jobMsg struct {
	job  *job
	text string
	err  error
}

type sessionMsg struct{ err error }

func (m *model) look() tea.Cmd {
	s := m.store
	return func() tea.Msg {
		began := time.Now()
		all, bad := s.List()
		return listMsg{all, bad, time.Since(began)}
	}
}

func lookLater(took time.Duration) tea.Cmd {
	return tea.Tick(engine.Pause(took), func(time.Time) tea.Msg { return lookMsg{} })
}

// gather finds out what is not known yet of the environments that are seen; of those that run, again.
func (m *model) gather(again bool) tea.Cmd {
	if m.asking {
		return nil
	}
	var want []engine.Environment
	for _, e := range m.visible() {
		if f, ok := m.facts[string(e.EnvID)]; !ok || f.env != e || again && e.Running {
			want = append(want, e)
		}
	}
	if len(want) == 0 {
		return nil
	}
	m.asking = true
	s := m.store
	return func() tea.Msg {
		var found factsMsg
		for _, e := range want {
			f := fact{env: e, size: -1, drift: -1} // cannot be told, as of one that has gone
			if d, err := s.Inspect(string(e.EnvID)); err == nil {
				f.size, f.drift = d.Size.Base+d.Size.Packages+d.Size.Snapshots+d.Size.Writable, d.Size.Writable
			}
			found = append(found, f)
		}
		return found
	}
}

// open puts a page over the list; fill runs aside and brings its lines.
func (m *model) open(p *page, fill func(context.Context) (lines, snapshots []string, err error)) tea.Cmd {
	m.leave()
	ctx, cancel := context.WithCancel(m.ctx)
	p.loading, p.cancel, m.page = true, cancel, p
	return func() tea.Msg {
		lines, snapshots, err := fill(ctx)
		return pageMsg{p, lines, snapshots, err}
	}
}

// leave goes back to the list.
func (m *model) leave() {
	if m.page != nil && m.page.cancel != nil {
		m.page.cancel()
	}
	m.page = nil
}

func (m *model) openDetails(e engine.Environment) tea.Cmd {
	s := m.store
	return m.open(&page{kind: detailsPage, title: label(e), env: e}, func(context.Context) ([]string, []string, error) {
		d, err := s.Inspect(string(e.EnvID))
		if err != nil {
			return nil, nil, err
		}
		return detailLines(d), nil, nil
	})
}

func (m *model) openSnapshots(e engine.Environment) tea.Cmd {
	s, now := m.store, m.now()
	return m.open(&page{kind: snapshotsPage, title: "snapshots of " + label(e), env: e}, func(context.Context) ([]string, []string, error) {
		all, err := s.Snapshots(string(e.EnvID))
		if err != nil {
			return nil, nil, err
		}
		lines, refs := []string{snapshotLine(e.Current == "", "built", now.Sub(e.CreatedAt), "", "as it was built")}, []string{"built"}
		for _, sn := range slices.Backward(all) {
			lines = append(lines, snapshotLine(sn.Current, short(string(sn.Snapshot)), now.Sub(sn.CreatedAt), size(sn.Size), sn.Message))
			refs = append(refs, string(sn.Snapshot))
		}
		return lines, refs, nil
	})
}

func (m *model) openDiff(e engine.Environment) tea.Cmd {
	s := m.store
	return m.open(&page{kind: diffPage, title: "changes in " + label(e), env: e}, func(ctx context.Context) ([]string, []string, error) {
		var lines []string
		more := 0
		err := s.Diff(ctx, string(e.EnvID), func(c engine.Change) error {
			if len(lines) == maxLines {
				more++
				return nil
			}
			lines = append(lines, changeLine(c))
			return nil
		})
		if more > 0 {
			lines = append(lines, fmt.Sprintf("and %d more: karapace diff shows all", more))
		}
		return lines, nil, err
	})
}

func (m *model) openGC() tea.Cmd {
	s := m.store
	return m.open(&page{kind: gcPage, title: "what nothing needs"}, func(ctx context.Context) ([]string, []string, error) {
		all, err := s.GC(ctx, true)
		if err != nil || len(all) == 0 {
			return nil, nil, err
		}
		lines := []string{fmt.Sprintf("%s in all; y removes it", size(garbageSize(all))), ""}
		for _, g := range all[:min(len(all), maxLines)] {
			lines = append(lines, right(size(g.Size), 9)+"  "+cell(clean(g.Kind), 8)+"  "+clean(g.Reason)+"  "+short(g.ID))
		}
		return lines, nil, nil
	})
}

// start begins a piece of work, unless there is one already.
func (m *model) start(v verb, what, ref, argument string) tea.Cmd {
	if m.job != nil {
		m.fail("first " + m.job.what + " has to end; l shows how far it is")
		return nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	j := &job{what: clean(what), cancel: cancel, progress: make(chan progressMsg, 64), finished: make(chan struct{})}
	m.job, m.log, m.moving = j, []string{j.what}, false
	m.say(j.what + " …")
	s := m.store
	return tea.Batch(j.next(), func() tea.Msg {
		defer cancel()
		defer close(j.finished)
		text, err := s.Do(ctx, v, ref, argument, feed{ctx, j.progress})
		return jobMsg{j, text, err}
	})
}

// next waits for what the work has to tell.
func (j *job) next() tea.Cmd {
	return func() tea.Msg {
		select {
		case p := <-j.progress:
			return p
		case <-j.finished:
			return nil
		}
	}
}

// record puts progress into the log.
func (m *model) record(p progressMsg) {
	if m.moving && len(m.log) > 0 {
		m.log = m.log[:len(m.log)-1]
	}
	m.moving = p.moving
	if len(m.log) < maxLines {
		m.log = append(m.log, clean(p.text))
	}
	if m.job != nil {
		m.say(m.job.what + ": " + p.text)
	}
	m.followLog()
}

// followLog shows the end of the log, when it is what is shown.
func (m *model) followLog() {
	if m.page != nil && m.page.kind == logPage {
		end := m.page.at >= len(m.page.lines)-1
		m.page.lines = m.log
		if end {
			m.page.move(len(m.log), len(m.log), m.pageRows())
		}
	}
}

func (m *model) finish(done jobMsg) {
	m.job, m.moving = nil, false
	for {
		select {
		case p := <-done.job.progress:
			if !p.moving {
				m.log = append(m.log, clean(p.text))
			}
			continue
		default:
		}
		break
	}
	if done.err != nil {
		m.fail(sentence(done.err))
	} else {
		m.say(done.job.what + ": " + done.text)
	}
	m.log = append(m.log, m.status)
	m.followLog()
}

// sentence is an error with its next step.
func sentence(err error) string {
	kind, hint := failure.Of(err)
	if kind == failure.Interrupted {
		return "interrupted; the store is as it was"
	}
	if hint == "" {
		return err.Error()
	}
	return strings.TrimRight(err.Error(), "\n") + " · " + hint
}
