package main

import (
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// Bars fit behind the other columns, whatever is as wide as that.
func TestBars(t *testing.T) {
	var all []engine.ComparedResult
	for _, start := range []float64{5, 30} {
		r := engine.ComparedResult{Ran: true}
		r.Times.Start, r.Times.Stop = start, 3
		all = append(all, r)
	}
	for columns, want := range map[int]int{200: 40, 40: 40 - 1 - len("BACKEND  "), 12: 10} {
		rows := bars([][]string{{"BACKEND"}, {"crun"}, {"youki"}}, all, columns)
		if len(rows[2][1]) != want || len(rows[1][1]) >= want || !strings.HasPrefix(rows[1][1], "#") {
			t.Errorf("in %d columns the bars are %q and %q, the longest should have %d", columns, rows[1][1], rows[2][1], want)
		}
	}
}
