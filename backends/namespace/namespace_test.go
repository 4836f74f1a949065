package namespace

import (
	"os"
	"testing"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/backendtest"
)

func factory(string) (backends.Runtime, error) { return New(), nil }

func TestMain(m *testing.M) { os.Exit(backendtest.Main(m, factory)) }

func TestConformance(t *testing.T) {
	backendtest.Run(t, factory, Name, backendtest.Options{Isolated: true, Outlives: true, Reopens: true, Fast: true})
}
