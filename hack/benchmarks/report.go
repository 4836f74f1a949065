package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// row compares two contenders, or the peak memory of one with a bound.
type row struct {
	What    string
	Against string  // empty: What's peak memory, in MB of 10^6 bytes
	AtMost  float64 // 0: for information
	Goal    float64 // 0: none beyond AtMost
}

func (r row) name() string {
	if r.Against == "" {
		return "memory of " + r.What
	}
	return r.What + " / " + r.Against
}

type result struct {
	Name   string   `json:"name"`
	Value  *float64 `json:"value"` // a ratio, or MB; null: not measured
	AtMost float64  `json:"at_most,omitempty"`
	Goal   float64  `json:"goal,omitempty"`
	Within *bool    `json:"within,omitempty"`
}

type measured struct {
	Name    string    `json:"name"`
	Group   string    `json:"group"`
	Median  float64   `json:"median_ms"`
	Low     float64   `json:"quartile1_ms"`
	High    float64   `json:"quartile3_ms"`
	PeakMB  float64   `json:"peak_mb"`
	Samples []float64 `json:"samples_ms"`
}

type absent struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

type report struct {
	Machine    map[string]string `json:"machine"`
	Contenders []measured        `json:"contenders"`
	Rows       []result          `json:"rows"`
	Missing    []absent          `json:"missing"`
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (rep *report) add(g *group, rows []row) {
	got := map[string]measured{}
	for _, c := range g.contenders {
		if c.err != nil {
			rep.Missing = append(rep.Missing, absent{c.name, c.err.Error()})
		}
		if c.err != nil || len(c.samples) == 0 {
			continue
		}
		m := summary(c)
		m.Group = g.name
		got[c.name] = m
		rep.Contenders = append(rep.Contenders, m)
	}
	for _, r := range rows {
		rep.Rows = append(rep.Rows, r.judge(got))
	}
}

func summary(c *contender) measured {
	m := measured{Name: c.name, PeakMB: float64(c.rss) / 1e6}
	for _, s := range c.samples {
		m.Samples = append(m.Samples, milliseconds(s))
	}
	sorted := slices.Sorted(slices.Values(c.samples))
	m.Median, m.Low, m.High = milliseconds(quantile(sorted, 0.5)), milliseconds(quantile(sorted, 0.25)), milliseconds(quantile(sorted, 0.75))
	return m
}

func (r row) judge(got map[string]measured) result {
	res := result{Name: r.name(), AtMost: r.AtMost, Goal: r.Goal}
	what, ok := got[r.What]
	value := what.PeakMB
	if r.Against != "" {
		against, there := got[r.Against]
		ok = ok && there
		value = what.Median / against.Median
	}
	if !ok {
		return res
	}
	res.Value = &value
	if r.AtMost > 0 {
		within := value <= r.AtMost
		res.Within = &within
	}
	return res
}

func (rep *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rep)
	}
	for _, k := range slices.Sorted(keys(rep.Machine)) {
		fmt.Fprintf(w, "%s: %s\n", k, rep.Machine[k])
	}
	fmt.Fprintln(w)
	rep.printContenders(w)
	fmt.Fprintln(w)
	rep.printRows(w)
	for _, m := range rep.Missing {
		fmt.Fprintf(w, "\nmissing: %s: %s\n", m.Name, m.Reason)
	}
	return nil
}

func keys(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (rep *report) printContenders(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what runs\tmedian ms\tquartiles\truns")
	for _, m := range rep.Contenders {
		fmt.Fprintf(tw, "%s\t%.2f\t%.2f - %.2f\t%d\n", m.Name, m.Median, m.Low, m.High, len(m.Samples))
	}
	tw.Flush()
}

func (rep *report) printRows(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what / against what\tmeasured\tat most\t\tgoing to")
	for _, r := range rep.Rows {
		value, verdict := "-", ""
		if r.Value != nil {
			value = fmt.Sprintf("%.3g", *r.Value)
		}
		if r.Within != nil {
			verdict = map[bool]string{true: "within", false: "ABOVE"}[*r.Within]
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Name, value, bound(r.AtMost), verdict, bound(r.Goal))
	}
	tw.Flush()
}

func bound(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g", v)
}
