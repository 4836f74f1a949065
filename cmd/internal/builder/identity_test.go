package builder

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

// An image names its lock, whose text it has without output, unless that is too long.
func TestIdentity(t *testing.T) {
	l := &manifest.Lock{Arch: "amd64", BaseImage: "./a.tar", Output: manifest.Output{BaseLayer: "sha256:1", ImageDigest: "sha256:2"}}
	config, err := json.Marshal(imageConfig(l, []string{"A=b"}))
	if err != nil {
		t.Fatal(err)
	}
	if !namesLock(config, l.ID()) || namesLock(config, "other") || namesLock([]byte(`{}`), l.ID()) || namesLock([]byte(`x`), "") {
		t.Errorf("%s", config)
	}
	text := imageNotes(l)[noteLock]
	if strings.Contains(text, "[output]") || !strings.Contains(text, string(l.ID())) || l.Output.BaseLayer == "" {
		t.Errorf("%s", text)
	}
	for range 20_000 {
		l.Packages = append(l.Packages, manifest.Package{Name: "a", Location: strings.Repeat("x", 60)})
	}
	if notes := imageNotes(l); notes != nil {
		t.Errorf("a lock of %d bytes is in the image", len(notes[noteLock]))
	}
}
