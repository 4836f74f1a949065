package fstree

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSameLines(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"x\ny\n", "y\nx\n", true}, {"x\ny", "y\nx", true}, {"x\ny\n", "y\nx", true}, {"x\ny\n", "y\nx\nx\n", false},
		{"x\n", "y\n", false}, {"x\x00\ny", "y\nx\x00", false},
	} {
		for dir, text := range map[string]string{a: tt.a, b: tt.b} {
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := SameLines(a, b, "f"); got != tt.want {
			t.Errorf("%q and %q: %v", tt.a, tt.b, got)
		}
	}
	if SameLines(a, b, "none") || SameLines(a, b, "../"+filepath.Base(b)+"/f") {
		t.Error("what is no file of the trees has lines")
	}
}
