package distro

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/karapace/karapace/manifest"
)

// refetcher counts the files it is asked for.
type refetcher struct {
	Fetcher
	files atomic.Int32
}

func (r *refetcher) Fetch(_ context.Context, _ string, files []File) error {
	r.files.Add(int32(len(files)))
	return nil
}

// What is damaged in the vault is fetched again, with its signature, but once.
func TestEachLocked(t *testing.T) {
	pkgs := []manifest.Package{{Name: "good", Version: "1"}, {Name: "bad", Version: "2", Signature: "x"}}
	for mended, want := range map[bool]string{true: "", false: "package bad 2: copy: the file does not have its digest"} {
		f := &refetcher{}
		var calls [2]atomic.Int32
		err := eachLocked(t.Context(), f, pkgs, func(i int, p manifest.Package) error {
			if calls[i].Add(1); p.Name == "bad" && (calls[i].Load() == 1 || !mended) {
				return fmt.Errorf("copy: %w", ErrCorrupt)
			}
			return nil
		})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want || calls[1].Load() != 2 || f.files.Load() != 2 {
			t.Errorf("%q after %d attempts and %d files, want %q", got, calls[1].Load(), f.files.Load(), want)
		}
	}
}
