package manifest_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/karapace/karapace/manifest"
)

var update = flag.Bool("update", false, "rewrite expected texts from what the code gives")

// TestScriptedErrors compares every broken manifest of the command's scripts with the message the scripts expect, so that
// a changed message is seen here, without building the command.
func TestScriptedErrors(t *testing.T) {
	files, err := filepath.Glob("../cmd/karapace/testdata/script/manifest_errors_*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	cases := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := scriptedErrors(t, file, archive)
		if n == 0 {
			t.Errorf("%s has no cases", file)
		}
		cases += n
		if *update {
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < 50 {
		t.Errorf("%d broken manifests, want at least 50", cases)
	}
}

func scriptedErrors(t *testing.T, file string, archive *txtar.Archive) int {
	cases := 0
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".toml")
		if !ok {
			continue
		}
		cases++
		if !bytes.Contains(archive.Comment, []byte("karapace build "+f.Name+"\ncmp stderr "+name+".stderr\n")) {
			t.Errorf("%s: the script does not run %s", file, f.Name)
		}
		_, err := manifest.Parse(f.Name, f.Data)
		if err == nil {
			t.Errorf("%s: %s is accepted", file, f.Name)
			continue
		}
		got := "karapace: " + err.Error() + "\n"
		want := find(archive, name+".stderr")
		switch {
		case want == nil:
			t.Errorf("%s: no %s.stderr", file, name)
		case *update:
			want.Data = []byte(got)
		case string(want.Data) != got:
			t.Errorf("%s: %s gives\n%swant\n%s", file, f.Name, got, want.Data)
		}
	}
	return cases
}

func find(archive *txtar.Archive, name string) *txtar.File {
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			return &archive.Files[i]
		}
	}
	return nil
}
