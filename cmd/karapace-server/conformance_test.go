package main

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// The public suite, whole, on files and on a bucket: nothing may fail.
func TestConformance(t *testing.T) {
	suite := filepath.Join(t.TempDir(), "conformance")
	build := exec.Command("go", "build", "-o", suite, "github.com/opencontainers/distribution-spec/conformance")
	build.Dir = filepath.Join("..", "..", "hack", "conformance", "registry")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, storage := range map[string]struct {
		change func(*config.Config)
		empty  string // whether blobs may be empty; the bucket in memory takes no empty part, which S3 does
	}{"file": {nil, "true"}, "s3": {onBucket(t), "false"}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, storage.change)
			cmd := exec.Command(suite)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "OCI_REGISTRY="+strings.TrimPrefix(s.url, "http://"), "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_DATA_EMPTY_BLOB="+storage.empty, "OCI_RESULTS_DIR=results")
			out, err := cmd.CombinedOutput()
			if tests, failed := counted(t, filepath.Join(cmd.Dir, "results", "junit.xml")); err != nil || failed > 0 || tests < 800 {
				t.Errorf("%d of %d fail: %v\n%s", failed, tests, err, out)
			}
		})
	}
}

// counted reads how many tests a report has, and how many failed.
func counted(t *testing.T, report string) (tests, failed int) {
	t.Helper()
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	if err := xml.Unmarshal(content, &suites); err != nil {
		t.Fatal(err)
	}
	return suites.Tests, suites.Failures + suites.Errors
}
