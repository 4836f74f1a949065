package main

import (
	"context"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// model is everything that is shown. Pages lie over the list of environments; a prompt takes the keys while there is one.
type model struct {
	ctx      context.Context
	store    store
	karapace string // the binary that sessions are handed to
	root     string // of the store
	now      func() time.Time

	width, height int

	all    []engine.Environment
	loaded bool
	shown  []engine.Environment // what the search leaves
	bad    []error              // records that cannot be read
	facts  map[string]fact      // by EnvID
	asking bool                 // facts are being gathered
	filter string
	list   scroll
	page   *page
	prompt *prompt

	status string
	failed bool
	job    *job
	log    []string // of the last piece of work
	moving bool     // the last line of log is of a transfer that goes on
}

// fact is what takes time to find out about an environment as it was listed.
type fact struct {
	env   engine.Environment
	size  int64 // all it is made of, in bytes
	drift int64 // bytes of the writable layer
}

// scroll is a place in a list: the line that is marked, and the first that is seen.
type scroll struct{ at, top int }

// move puts the mark on a line of n, and keeps it among the rows that are seen.
func (s *scroll) move(to, n, rows int) {
	rows = max(1, rows)
	s.at = max(0, min(to, n-1))
	s.top = max(0, min(s.top, s.at, n-rows))
	if s.at >= s.top+rows {
		s.top = s.at - rows + 1
	}
}

type pageKind int

const (
	detailsPage pageKind = iota
	snapshotsPage
	diffPage
	logPage
	gcPage
	helpPage
)

// page is a list of lines over the list of environments.
type page struct {
	kind      pageKind
	title     string
	env       engine.Environment
	lines     []string
	snapshots []string // what restore calls the lines of snapshotsPage
	loading   bool
	cancel    context.CancelFunc // of what fills it
	scroll
}

// prompt asks for one line of text.
type prompt struct {
	question string
	text     []rune
	live     bool                         // every key counts, not only enter
	done     func(*model, string) tea.Cmd // enter
	check    func(string) bool            // nil: any text will do
}

// job is a piece of work that changes the store.
type job struct {
	what     string
	cancel   context.CancelFunc
	progress chan progressMsg
	finished chan struct{}
}

func newModel(ctx context.Context, s store, karapace, root string) *model {
	return &model{ctx: ctx, store: s, karapace: karapace, root: root, now: time.Now, width: 80, height: 24, facts: map[string]fact{}}
}

// Init starts to look at the store.
func (m *model) Init() tea.Cmd { return m.look() }

// selected is the environment that is marked.
func (m *model) selected() (engine.Environment, bool) {
	if m.list.at < len(m.shown) {
		return m.shown[m.list.at], true
	}
	return engine.Environment{}, false
}

// take makes a new list the present one; the mark stays on its environment.
func (m *model) take(all []engine.Environment) {
	before, had := m.selected()
	m.all, m.loaded = all, true
	m.search()
	if had {
		for i, e := range m.shown {
			if e.EnvID == before.EnvID {
				m.list.at = i
				break
			}
		}
	}
	m.list.move(m.list.at, len(m.shown), m.listRows())
	here := make(map[string]bool, len(all))
	for _, e := range all {
		here[string(e.EnvID)] = true
	}
	for id := range m.facts {
		if !here[id] {
			delete(m.facts, id)
		}
	}
}

// search leaves what has the text in its name, id, base or state.
func (m *model) search() {
	m.shown = m.all
	if m.filter == "" {
		return
	}
	want := strings.ToLower(m.filter)
	m.shown = nil
	for _, e := range m.all {
		if strings.Contains(strings.ToLower(strings.Join([]string{e.Name, string(e.EnvID), e.BaseImage, state(e)}, "\n")), want) {
			m.shown = append(m.shown, e)
		}
	}
}

func (m *model) say(text string) { m.status, m.failed = clean(text), false }

func (m *model) fail(text string) { m.status, m.failed = clean(text), true }

// endJob interrupts what runs and returns when it has put the store in order.
func (m *model) endJob() {
	if m.job != nil {
		m.job.cancel()
		for { // it may wait for somebody to take its progress
			select {
			case <-m.job.progress:
			case <-m.job.finished:
				return
			}
		}
	}
}

func state(e engine.Environment) string {
	if e.Running {
		return "running"
	}
	return clean(e.State)
}
