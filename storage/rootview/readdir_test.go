package rootview

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A directory is listed merged, through links that stay inside, and never beyond the limit.
func TestReadDir(t *testing.T) {
	top, low := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(top, "usr/share/b"), filepath.Join(low, "usr/share/a"), filepath.Join(low, "usr/share/b")} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"data": "/usr/share", "out": "../../../../../../usr/share"} {
		if err := os.Symlink(target, filepath.Join(low, link)); err != nil {
			t.Fatal(err)
		}
	}
	v := New(top, low)
	for _, dir := range []string{"/usr/share", "/data", "/out"} {
		if got, err := v.ReadDir(dir, 10); err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: %v, %v", dir, got, err)
		}
	}
	if _, err := v.ReadDir("/usr/share", 1); err == nil {
		t.Error("more entries than the limit are accepted")
	}
	if _, err := v.ReadDir("/none", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}
