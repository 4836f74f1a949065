package builder

import (
	"os"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// A broken promise is told as one, also where nothing can be found out about it.
func TestBrokenPromise(t *testing.T) {
	s, err := storage.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Path("storage")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path("storage"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	is := manifest.Output{BaseLayer: "sha256:1"}
	b := &build{worker: &worker{store: s}, lock: &manifest.Lock{Output: manifest.Output{BaseLayer: "sha256:2"}}, base: layer{ID: is.BaseLayer}}
	err = b.compareOutput(t.Context(), is)
	if kind, _ := failure.Of(err); kind != failure.Lock || !strings.Contains(err.Error(), "the lock says sha256:2, it became sha256:1\n  their files cannot be compared: ") {
		t.Error(kind, err)
	}
}
