package main

import (
	"os"
	"os/user"
	"path/filepath"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		samples []time.Duration
		part    float64
		want    time.Duration
	}{
		{[]time.Duration{7}, 0.5, 7},
		{[]time.Duration{7}, 0.75, 7},
		{[]time.Duration{10, 20}, 0.5, 15},
		{[]time.Duration{10, 20, 30}, 0.5, 20},
		{[]time.Duration{10, 20, 30, 40, 50}, 0.25, 20},
		{[]time.Duration{10, 20, 30, 40}, 0.75, 32},
	} {
		if got := quantile(c.samples, c.part); got != c.want {
			t.Errorf("quantile(%v, %v) = %d, want %d", c.samples, c.part, got, c.want)
		}
	}
}

func TestKeepID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("other:1:65536\nada:100000:65536\nshort:5:10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, want string }{
		{"ada", "0 100000 1000 1000 1000 1 1001 101000 64536"},
		{"short", ""},
		{"nobody", ""},
	} {
		got, err := keep(file, &user.User{Username: c.name, Uid: "1000"}, 1000)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("keep for %s = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	got := map[string]measured{"a": {Median: 3, PeakMB: 50}, "b": {Median: 2}}
	for _, c := range []struct {
		row    row
		value  float64
		within bool
	}{
		{row{What: "a", Against: "b", AtMost: 1.6}, 1.5, true},
		{row{What: "a", Against: "b", AtMost: 1.4}, 1.5, false},
		{row{What: "a", AtMost: 100}, 50, true},
	} {
		r := c.row.judge(got)
		if r.Value == nil || *r.Value != c.value || r.Within == nil || *r.Within != c.within {
			t.Errorf("%s: %+v", c.row.name(), r)
		}
	}
	if r := (row{What: "a", Against: "gone", AtMost: 1}).judge(got); r.Value != nil || r.Within != nil {
		t.Errorf("a contender that is missing gives %+v", r)
	}
}
