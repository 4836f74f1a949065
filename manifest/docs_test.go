package manifest

import (
	"os"
	"strings"
	"testing"
)

// TestDocsAreTrue parses every example of the manifest's specification and looks up every key in the documents.
func TestDocsAreTrue(t *testing.T) {
	spec, lock := readDoc(t, "manifest-spec.md"), readDoc(t, "lock-spec.md")
	parts := strings.Split(spec, "```toml\n")
	for _, part := range parts[1:] {
		example, _, _ := strings.Cut(part, "```")
		var err error
		if strings.Contains(example, "manifest_version") {
			_, err = Parse("manifest-spec.md", []byte(example))
		} else {
			_, err = ParseConfig("manifest-spec.md", []byte(example))
		}
		if err != nil {
			t.Error(err)
		}
	}
	if len(parts) < 3 {
		t.Errorf("%d examples", len(parts)-1)
	}
	for _, table := range []string{"", "base", "system", "gui", "hardware", "runtime", "runtime.resource_limits", "integration"} {
		for _, key := range manifestKeys(table) {
			mentioned(t, "manifest-spec.md", spec, key)
		}
	}
	for _, key := range append(append(configKeys(), distros()...), append(arches(), backends()...)...) {
		mentioned(t, "manifest-spec.md", spec, key)
	}
	for _, key := range lockKeys() {
		mentioned(t, "lock-spec.md", lock, key)
	}
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func mentioned(t *testing.T, doc, text, key string) {
	t.Helper()
	if !strings.Contains(text, key) {
		t.Errorf("%s does not mention %s", doc, key)
	}
}
