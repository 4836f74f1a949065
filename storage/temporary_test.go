package storage

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A scratch directory is one, and stays its maker's, while others sweep.
func TestScratchBesideSweeps(t *testing.T) {
	s, err := Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sweeps sync.WaitGroup
	for range 3 {
		sweeps.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				left, err := s.Abandoned()
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range left {
					os.RemoveAll(l.Dir)
					l.Release()
				}
			}
		})
	}
	for range 300 {
		scratch, err := s.Scratch("x")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(scratch.Dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(scratch.Dir)
		scratch.Release()
	}
	close(stop)
	sweeps.Wait()
	if left, err := os.ReadDir(s.Path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A temporary file is garbage when nobody writes it any more, and not before.
func TestTemporaryFiles(t *testing.T) {
	s, err := Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	writing, err := createTemporary(s.Path("layers"), "x")
	if err != nil {
		t.Fatal(err)
	}
	left, err := createTemporary(s.Path("built"), "y")
	if err != nil {
		t.Fatal(err)
	}
	left.Close()
	found, err := s.AbandonedFiles()
	if err != nil || len(found) != 1 || found[0].Dir != left.Name() {
		t.Fatalf("found %v, %v", found, err)
	}
	found[0].Release()
	writing.Close()

	document := filepath.Join(t.TempDir(), "karapace.lock")
	old, err := createTemporary(filepath.Dir(document), filepath.Base(document))
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	if err := WriteDocument(document, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Dir(document))
	if err != nil || len(names) != 1 || strings.HasPrefix(names[0].Name(), tempPrefix) {
		t.Errorf("beside the document: %v, %v", names, err)
	}
}
