package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// progress chooses how long work is shown: a moving line on a terminal, one line a step elsewhere, nothing with --quiet
// or --json.
func (p *program) progress() engine.Progress {
	if p.quiet || p.json {
		return engine.Silent{}
	}
	_, err := unix.IoctlGetTermios(int(p.stderr.Fd()), unix.TCGETS)
	return &lines{w: p.stderr, terminal: err == nil && os.Getenv("TERM") != "dumb", now: time.Now}
}

// lines writes progress to w.
type lines struct {
	w        *os.File
	terminal bool
	now      func() time.Time
	began    time.Time // of the present transfer
	what     string
	moving   bool // the cursor is on a line that will be rewritten
}

func (l *lines) Step(name string) { l.line("%s", name) }

func (l *lines) Note(text string) { l.line("note: %s", text) }

func (l *lines) line(format string, args ...any) {
	l.clear()
	fmt.Fprintln(l.w, printable(fmt.Sprintf(format, args...)))
}

func (l *lines) Transfer(what string, files int, done, total int64) {
	if what != l.what {
		l.what, l.began = what, l.now()
	}
	if !l.terminal {
		return
	}
	l.clear()
	fmt.Fprint(l.w, printable(fit(l.bar(what, files, done, total), l.columns())))
	l.moving = true
}

func (l *lines) bar(what string, files int, done, total int64) string {
	const width = 24
	elapsed := l.now().Sub(l.began).Seconds()
	rate := int64(0)
	if elapsed > 0.2 {
		rate = int64(float64(done) / elapsed)
	}
	if total <= 0 {
		return fmt.Sprintf("%s  %s  %s/s", title(what, files), size(done), size(rate))
	}
	full := int(min(width, int64(width)*done/total))
	eta := "-"
	if rate > 0 {
		eta = (time.Duration((total-done)/rate) * time.Second).String()
	}
	return fmt.Sprintf("%s  [%s%s] %s of %s  %s/s  %s left", title(what, files),
		strings.Repeat("#", full), strings.Repeat(".", width-full), size(done), size(total), size(rate), eta)
}

func (l *lines) TransferDone(what string, files int, done int64) {
	took := l.now().Sub(l.began).Round(100 * time.Millisecond)
	if what != l.what {
		took = 0
	}
	l.what = ""
	l.line("%s: %s in %s", title(what, files), size(done), took)
}

func title(what string, files int) string {
	if files > 1 {
		return fmt.Sprintf("%s (%d files)", what, files)
	}
	return what
}

func (l *lines) clear() {
	if l.moving {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.moving = false
	}
}

func (l *lines) columns() int { return columns(l.w) }

// columns is how wide a terminal is, and what stands for one.
func columns(f *os.File) int {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 {
		return 80
	}
	return int(ws.Col)
}

// fit cuts a line of ASCII so that it does not wrap.
func fit(s string, columns int) string { return s[:min(len(s), max(0, columns-1))] }
