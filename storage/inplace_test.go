package storage

import (
	"os"
	"path/filepath"
	"testing"
)

// A lock on a directory that has been replaced by another of the same name keeps nobody out of that.
func TestLockInPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundle")
	for range 2 {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := TryLock(dir + "/.")
		if err != nil || l == nil || !l.InPlace() {
			t.Fatalf("lock %v, %v", l, err)
		}
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		if l.InPlace() {
			t.Error("in place, and there is nothing")
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if l.InPlace() {
			t.Error("in place, where another directory is")
		}
		l.Unlock()
		for _, d := range []string{dir, dir + ".old"} {
			if err := os.Remove(d); err != nil {
				t.Fatal(err)
			}
		}
	}
}
