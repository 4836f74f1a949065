package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/manifest"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fakeStore has environments in memory and keeps what was done.
type fakeStore struct {
	envs []engine.Environment
	did  []string
	err  error
}

func (f *fakeStore) List() ([]engine.Environment, []error) { return f.envs, nil }

func (f *fakeStore) Inspect(ref string) (*engine.Details, error) {
	for i, e := range f.envs {
		if string(e.EnvID) == ref {
			return &engine.Details{Environment: e, Size: engine.Sizes{Base: 2_000_000, Packages: 500_000, Writable: int64(i) * 1500}}, nil
		}
	}
	return nil, errors.New("no environment " + ref)
}

func (f *fakeStore) Snapshots(string) ([]engine.Snapshot, error) {
	return []engine.Snapshot{{Snapshot: "sha256:0123456789abcdef0123", Message: hostileName, CreatedAt: testTime, Size: 4096, Current: true}}, nil
}

func (f *fakeStore) Diff(_ context.Context, _ string, each func(engine.Change) error) error {
	return each(engine.Change{Op: "+", Path: "/root/" + hostileName, Size: 12})
}

func (f *fakeStore) GC(context.Context, bool) ([]engine.Garbage, error) {
	return []engine.Garbage{{Kind: "layer", ID: "sha256:beef", Size: 10, Reason: hostileName}}, nil
}

func (f *fakeStore) Do(_ context.Context, v verb, ref, argument string, p engine.Progress) (string, error) {
	p.Step("a step " + hostileName)
	f.did = append(f.did, strings.TrimSpace(fmt.Sprint(v, " ", ref, " ", argument)))
	return "done", f.err
}

const hostileName = "evil\x1b[2J\x1b]0;t\x07\u009b31m\r\n\u202e\xff"

func environments(n int) []engine.Environment {
	var all []engine.Environment
	for i := range n {
		all = append(all, engine.Environment{
			EnvID: manifest.EnvID(fmt.Sprintf("%064d", i)), ShortID: fmt.Sprintf("%012d", i), Name: fmt.Sprintf("env%03d", i), State: "built",
			BaseImage: "debian/bookworm", CreatedAt: testTime,
		})
	}
	return all
}

func odd() []engine.Environment {
	all := environments(5)
	all[1].Name, all[1].Running = "日本語の環境", true
	all[2].Name, all[2].State = "combining e\u0301\u0302 👩‍💻", "frozen"
	all[3].Name, all[3].BaseImage = hostileName, hostileName
	all[4].Name = strings.Repeat("long", 50)
	return all
}

// driver plays bubbletea: it runs commands until none is left, but for the clock.
type driver struct {
	t *testing.T
	m *model
}

func drive(t *testing.T, s store, width, height int) *driver {
	m := newModel(t.Context(), s, "karapace", "/store")
	m.now = func() time.Time { return testTime.Add(3 * time.Hour) }
	d := &driver{t, m}
	d.send(tea.WindowSizeMsg{Width: width, Height: height})
	d.do(m.Init())
	return d
}

func (d *driver) send(msg tea.Msg) {
	d.t.Helper()
	if l, ok := msg.(listMsg); ok {
		d.m.bad = l.bad
		d.m.take(l.all)
		d.do(d.m.gather(true))
		return
	}
	_, cmd := d.m.Update(msg)
	d.do(cmd)
}

func (d *driver) do(cmd tea.Cmd) {
	d.t.Helper()
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for i := len(msg) - 1; i >= 0; i-- { // the work first, then who waits for its progress
			d.do(msg[i])
		}
	default:
		d.send(msg)
	}
}

func (d *driver) keys(keys ...string) {
	d.t.Helper()
	special := map[string]tea.KeyType{"enter": tea.KeyEnter, "esc": tea.KeyEsc, "down": tea.KeyDown, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace}
	for _, k := range keys {
		if code, ok := special[k]; ok {
			d.send(tea.KeyMsg{Type: code})
			continue
		}
		d.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	got = strings.ReplaceAll(got+"\n", "\r", "")
	if os.Getenv("UPDATE_SCRIPTS") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is drawn:\n%s", file, got)
	}
}

// Screens are as testdata has them; UPDATE_SCRIPTS=1 writes them anew.
func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{100, 16}, {60, 12}, {40, 10}} {
		for name, keys := range map[string][]string{
			"list": {"down"}, "details": {"enter"}, "snapshots": {"s"}, "diff": {"d"}, "gc": {"z"}, "help": {"?"}, "destroy": {"D"}, "search": {"/", "日本"},
		} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				d := drive(t, &fakeStore{envs: odd()}, size[0], size[1])
				d.keys(keys...)
				golden(t, strings.TrimPrefix(t.Name(), "TestScreens/"), d.m.View())
			})
		}
	}
}

// No size of terminal makes a line too wide or too many of them, and nothing hostile comes through.
func TestEverySizeHoldsEverything(t *testing.T) {
	for _, keys := range [][]string{{"end"}, {"enter"}, {"s"}, {"d"}, {"z"}, {"?"}, {"D"}, {"b"}, {"c", "enter", "l"}, {"/", "evil"}} {
		d := drive(t, &fakeStore{envs: odd()}, 80, 24)
		d.keys("down", "down", "down")
		d.keys(keys...)
		for width := range 110 {
			for _, height := range []int{0, 1, 2, 3, 4, 5, 10, 24, 60} {
				d.send(tea.WindowSizeMsg{Width: width, Height: height})
				check(t, d.m.View(), width, height)
			}
		}
	}
}

func check(t *testing.T, view string, width, height int) {
	t.Helper()
	lines := strings.Split(view, "\n")
	if len(lines) > max(1, height) {
		t.Fatalf("%d lines on a terminal of %d", len(lines), height)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > width {
			t.Fatalf("a line of %d columns on a terminal of %d: %q", w, width, line)
		}
		for _, r := range line { // without colours nothing escapes
			if unicode.IsControl(r) || r == '\u202e' {
				t.Fatalf("%q is drawn", line)
			}
		}
	}
}

// An environment goes when its name is typed or y, and not otherwise; one that runs is refused.
func TestDestroyAsks(t *testing.T) {
	for _, c := range []struct {
		keys []string
		want int
	}{
		{[]string{"D", "enter"}, 0}, {[]string{"D", "n", "enter"}, 0}, {[]string{"D", "y", "esc"}, 0}, {[]string{"D", "env001", "enter"}, 0},
		{[]string{"D", "y", "enter"}, 1}, {[]string{"D", "env000", "enter"}, 1}, {[]string{"down", "D", "y", "enter"}, 0},
	} {
		s := &fakeStore{envs: odd()}
		d := drive(t, s, 80, 24)
		d.keys(c.keys...)
		if len(s.did) != c.want {
			t.Errorf("%v did %v", c.keys, s.did)
		}
		if c.want == 1 && s.did[0] != "destroy "+string(s.envs[0].EnvID) {
			t.Errorf("%v did %v", c.keys, s.did)
		}
	}
}

// What fails is told, and the log has what was done.
func TestWorkIsTold(t *testing.T) {
	s := &fakeStore{envs: environments(2), err: errors.New("no \x1b[31mroom")}
	d := drive(t, s, 80, 24)
	d.keys("b", "enter", "work", "enter")
	if view := d.m.View(); !strings.Contains(view, "! no ?[31mroom") || !strings.Contains(view, "a step evil?[2J") || d.m.job != nil {
		t.Errorf("after a build that failed:\n%s", view)
	}
	if len(s.did) != 1 || s.did[0] != "build karapace.toml work" {
		t.Errorf("did %v", s.did)
	}
}

// A thousand environments are listed, and only those that are seen are asked for their sizes.
func TestThousand(t *testing.T) {
	d := drive(t, &fakeStore{envs: environments(1000)}, 80, 24)
	if len(d.m.facts) != 20 {
		t.Errorf("%d sizes for 20 lines", len(d.m.facts))
	}
	d.keys("/env77") // typed so fast that it comes at once
	if len(d.m.shown) != 10 {
		t.Errorf("%d match", len(d.m.shown))
	}
	d.keys("esc", "end")
	if view := d.m.View(); !strings.Contains(view, "> env999") || !strings.Contains(view, "env980") || strings.Contains(view, "env979") {
		t.Errorf("at the end:\n%s", view)
	}
	d.m.take(environments(1001)[1:]) // somebody else destroyed the first one
	if e, _ := d.m.selected(); e.Name != "env999" {
		t.Errorf("the mark is on %s", e.Name)
	}
}
