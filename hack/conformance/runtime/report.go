package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// judge reads what a program printed.
func judge(output string, err error) result {
	r := result{pass: true, output: output}
	tests := 0
	diagnosis := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "not ok"):
			if strings.Contains(line, "# TODO") {
				continue
			}
			r.pass = false
			r.why = first(r.why, line)
		case strings.HasPrefix(line, "ok"):
			tests++
		case strings.HasPrefix(line, `"error":`):
			diagnosis = first(diagnosis, line)
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.pass = false
		r.why = first(r.why, "exit status "+fmt.Sprint(exit.ExitCode())+", "+lastLine(output))
	case err != nil:
		return result{why: err.Error(), output: output}
	case r.pass && tests == 0 && diagnosis != "":
		r.star, r.why = true, diagnosis
	}
	return r
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// table prints rows as they come.
type table struct {
	verbose  bool
	programs []string
	runtimes []string
	passed   []int
	starred  []int
}

func (t *table) add(w io.Writer, program string, row []result) {
	if t.passed == nil {
		t.passed, t.starred = make([]int, len(row)), make([]int, len(row))
		t.line(w, "program", t.runtimes)
	}
	var cells []string
	for i, r := range row {
		switch {
		case r.star:
			t.passed[i]++
			t.starred[i]++
			cells = append(cells, "pass*")
		case r.pass:
			t.passed[i]++
			cells = append(cells, "pass")
		default:
			cells = append(cells, "FAIL")
		}
	}
	t.line(w, program, cells)
	for i, r := range row {
		if t.verbose && r.why != "" {
			fmt.Fprintf(w, "  %s: %s\n", t.runtimes[i], r.why)
			if i == 0 {
				fmt.Fprintf(w, "    | %s\n", strings.ReplaceAll(strings.TrimSpace(r.output), "\n", "\n    | "))
			}
		}
	}
}

func (t *table) total(w io.Writer) {
	var all, stars []string
	for i := range t.passed {
		all = append(all, fmt.Sprint(t.passed[i]))
		stars = append(stars, fmt.Sprint(t.passed[i]-t.starred[i]))
	}
	t.line(w, fmt.Sprintf("passed, of %d", len(t.programs)), all)
	t.line(w, "without a reservation", stars)
}

func (t *table) line(w io.Writer, name string, cells []string) {
	fmt.Fprintf(w, "%-34s", name)
	for _, c := range cells {
		fmt.Fprintf(w, " %-17s", c)
	}
	fmt.Fprintln(w)
}
