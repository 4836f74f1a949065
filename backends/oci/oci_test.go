package oci

import (
	"context"
	"os"
	"testing"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/backendtest"
)

// testDirs are where the test set-up puts runtimes that the distribution does not have.
func testDirs() []string {
	cache := os.Getenv("KARAPACE_TEST_CACHE")
	if cache == "" {
		cache = "/var/cache/karapace-test"
	}
	return []string{cache + "/youki/bin"}
}

func factory(name string) (backends.Runtime, error) {
	return New(context.Background(), name, testDirs())
}

func TestMain(m *testing.M) { os.Exit(backendtest.Main(m, factory)) }

func TestConformance(t *testing.T) {
	for _, name := range backends.OCIRuntimes() {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, factory, name, backendtest.Options{Isolated: true, Outlives: true, Reopens: true})
		})
	}
}
