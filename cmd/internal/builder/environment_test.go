package builder

import (
	"os"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
)

// A lock of another build environment is not built with this one.
func TestOtherBuildEnvironment(t *testing.T) {
	text, err := os.ReadFile("../../../manifest/testdata/small.lock")
	if err != nil {
		t.Fatal(err)
	}
	l, err := manifest.ParseLock("small.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	l.BuildEnvironment = 2
	_, err = (&worker{}).newBuild(&wire.Build{Lock: l.Encode(), LockFile: "small.lock"})
	if kind, hint := failure.Of(err); err == nil || kind != failure.Lock || !strings.Contains(err.Error(), "build environment 2") || hint == "" {
		t.Errorf("error %v, kind %s", err, kind)
	}
}
