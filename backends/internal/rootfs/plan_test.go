package rootfs

import (
	"flag"
	"os"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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

// A document from outside means with an option for one mount that mount alone; options that begin with r are for
// everything below too.
func TestForeignOptions(t *testing.T) {
	b := &Builder{plan: &nsproc.Plan{Foreign: true}}
	for _, c := range []struct {
		options     string
		attr, deep  unix.MountAttr
		propagation uint64
		below       bool
		data        string
	}{
		{"rbind,ro,nosuid", unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}, unix.MountAttr{}, 0, false, ""},
		{"rbind,rro,rnoexec,rslave", unix.MountAttr{}, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC}, unix.MS_SLAVE, true, ""},
		{"bind,rro,rrw,shared", unix.MountAttr{}, unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}, unix.MS_SHARED, false, ""},
		{"ro,rw,size=1k,unbindable", unix.MountAttr{}, unix.MountAttr{}, unix.MS_UNBINDABLE, false, "size=1k"},
		{"noatime,strictatime", unix.MountAttr{Attr_set: unix.MOUNT_ATTR_STRICTATIME}, unix.MountAttr{}, 0, false, ""},
	} {
		m, err := b.parse(&rspec.Mount{Destination: "/x", Type: "tmpfs", Options: strings.Split(c.options, ",")})
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		if m.attr != c.attr || m.deep != c.deep || m.propagation != c.propagation || m.propagateDeep != c.below || strings.Join(m.data, ",") != c.data {
			t.Errorf("%s: %+v", c.options, *m)
		}
	}
	for _, option := range []string{"idmap", "tmpcopyup"} {
		if _, err := b.parse(&rspec.Mount{Destination: "/x", Type: "tmpfs", Options: []string{option}}); err == nil {
			t.Errorf("%s was taken", option)
		}
	}
}

func TestRootPropagation(t *testing.T) {
	for name, want := range map[string]uintptr{"": 0, "shared": unix.MS_SHARED, "rslave": unix.MS_SLAVE | unix.MS_REC, "unbindable": unix.MS_UNBINDABLE} {
		if got, err := rootPropagation(name); err != nil || got != want {
			t.Errorf("%q: %#x, %v", name, got, err)
		}
	}
	if _, err := rootPropagation("loud"); err == nil {
		t.Error("loud was taken")
	}
}
