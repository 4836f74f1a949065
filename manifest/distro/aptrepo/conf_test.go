package aptrepo

import (
	"testing"
	"testing/fstest"
)

func TestIgnoresValidUntil(t *testing.T) {
	for _, tt := range []struct {
		text string
		want bool
	}{
		{"", false},
		{`Acquire::Check-Valid-Until "false";`, true},
		{"Acquire::Check-Valid-Until false;\n", true},
		{`acquire { http { proxy "x//y"; }; // comment }` + "\n /* } */ check-valid-until \"no\"; };", true},
		{`#Acquire::Check-Valid-Until "false";` + "\n", false},
		{`Acquire::Check-Valid-Until "false"; Acquire::Check-Valid-Until "true";`, false},
		{`Other { Acquire::Check-Valid-Until "false"; };`, false},
		{`DPkg::Post-Invoke { "Acquire::Check-Valid-Until false"; };`, false},
		{`"`, false}, {"{{{", false}, {"}}};;", false},
	} {
		tree := FS(fstest.MapFS{"etc/apt/apt.conf.d/99x": {Data: []byte(tt.text)}, "etc/apt/apt.conf.d/y.bak": {Data: []byte(`Acquire::Check-Valid-Until "false";`)}})
		if got := IgnoresValidUntil(tree); got != tt.want {
			t.Errorf("%q: %v", tt.text, got)
		}
	}
	if IgnoresValidUntil(FS(fstest.MapFS{})) {
		t.Error("no configuration ignores it")
	}
}
