package rootfs

import (
	"flag"
	"os"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/backendtest"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/userns"
)

var update = flag.Bool("update", false, "rewrite the expected plan")

func testContainer() *backends.Container {
	spec := backendtest.Spec()
	spec.Process.Args = []string{"true"}
	spec.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 0"}
	spec.Root.Readonly = true
	spec.Mounts = append(spec.Mounts, rspec.Mount{Destination: "/home/user", Source: "/", Type: "bind", Options: []string{"rbind", "nosuid", "rslave"}})
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, rspec.LinuxNamespace{Type: rspec.NetworkNamespace})
	return &backends.Container{
		ID: "test", Bundle: "/bundle", State: "/state", Spec: spec, Mapping: new(userns.Mapping),
		Rootfs: backends.Rootfs{Lower: []string{"/store/two", "/store/one"}, Upper: "/store/env/upper", Work: "/store/env/work"},
	}
}

// What a typical environment makes the kernel do, in order.
func TestPlan(t *testing.T) {
	plan, err := nsproc.NewPlan(testContainer())
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(plan)
	if err != nil {
		t.Fatal(err)
	}
	p := new(rawproc.Program)
	b.Early(p)
	b.Prepare(p)
	b.Enter(p)
	const file = "testdata/plan.txt"
	if *update {
		if err := os.WriteFile(file, []byte(p.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(p.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("step %d is\n\t%s\nwant\n\t%s\n(go test -update rewrites %s)", i+1, got[min(i, len(got)-1)], line, file)
		}
	}
}

func TestRefusedMounts(t *testing.T) {
	for want, m := range map[string]rspec.Mount{
		"it has no type":               {Destination: "/x", Source: "tmpfs"},
		"a bind mount has no option z": {Destination: "/x", Type: "bind", Source: "/", Options: []string{"rbind", "z"}},
		"id-mapped mounts":             {Destination: "/x", Type: "bind", Source: "/", UIDMappings: []rspec.LinuxIDMapping{{Size: 1}}},
		"open /nonexistent":            {Destination: "/x", Type: "bind", Source: "/nonexistent"},
	} {
		c := testContainer()
		c.Spec.Mounts = []rspec.Mount{m}
		plan, err := nsproc.NewPlan(c)
		if err == nil {
			_, err = New(plan)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mount /x") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
