package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

// The whole of a Pod, and the least of one.
func TestPod(t *testing.T) {
	for name, p := range map[string]*Pod{
		"pod.yaml": {
			Name: "t-env", Image: "registry.example.org/team/t@sha256:00", ShortID: "0123", Args: []string{"sh", "-c", "echo \"$A $(A) $(date)\" # not a comment"},
			Env: []string{"A=two\nlines: $(B) $(EMPTY)", "EMPTY="}, Capabilities: []string{"CAP_CHOWN", "CAP_KILL"}, ReadOnly: true,
			MillicpuRequest: 500, MemoryBytes: 64 << 20, Left: []string{"audio"},
			Mounts: []PodMount{{Name: "mount-0", Source: "/srv/a: b", Target: "/a", ReadOnly: true}, {Name: "mount-1", Source: "/srv/file", Target: "/f", File: true}},
		},
		"least.yaml": {Name: "t", Image: "a/b@sha256:00", ShortID: "0123"},
	} {
		file := filepath.Join("testdata", name)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, p.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Encode(); string(got) != string(want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}
