package ocispec

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// All documents are as the JSON schemas of the runtime specification want them, and the schemas do refuse.
func TestSchema(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatalf("find the schemas: %v", err)
	}
	schema := compile(t, filepath.Join(string(bytes.TrimSpace(out)), "schema"))
	documents, err := filepath.Glob("testdata/*.json")
	if err != nil || len(documents) < 5 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for _, name := range documents {
		doc := read(t, name)
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		doc["process"].(map[string]any)["cwd"] = 1
		if schema.Validate(doc) == nil {
			t.Errorf("%s with a wrong cwd is valid", name)
		}
	}
}

// compile reads the schemas, in which references without the slash that a JSON pointer begins with are meant as pointers.
func compile(t *testing.T, dir string) *jsonschema.Schema {
	compiler := jsonschema.NewCompiler()
	compiler.Draft = jsonschema.Draft4 // not every file says so
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil {
			err = compiler.AddResource("file:///"+filepath.Base(name), bytes.NewReader(bytes.ReplaceAll(text, []byte("#definitions/"), []byte("#/definitions/"))))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("file:///config-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func read(t *testing.T, name string) (doc map[string]any) {
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
