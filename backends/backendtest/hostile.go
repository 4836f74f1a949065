package backendtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// Root file systems in which symbolic links stand where a runtime prepares something. Either the runtime refuses, or it
// works without touching what they point to.
func testHostile(t *testing.T, s *suite) {
	link := func(target, name string) func(*testing.T, string, string) {
		return func(t *testing.T, root, canary string) {
			path := filepath.Join(root, name)
			must(t, os.RemoveAll(path))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.Symlink(strings.ReplaceAll(target, "CANARY", canary), path))
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, root, canary string)
		mount   string // one more bind mount's target
	}{
		{"dev", link("CANARY", "dev"), ""},
		{"proc", link("CANARY", "proc"), ""},
		{"sys", link("CANARY", "sys"), ""},
		{"mount target", link("CANARY", "mnt"), "/mnt"},
		{"parent of a mount target", link("CANARY", "mnt"), "/mnt/below"},
		{"file target", link("CANARY/file", "etc/resolv.conf"), "/etc/resolv.conf"},
		{"relative", link("../../../../../../../../../../CANARY", "dev"), ""},
		{"dangling", link("CANARY/new", "mnt"), "/mnt"},
		{"chain", func(t *testing.T, root, canary string) {
			link("CANARY", "a")(t, root, canary)
			link("a", "dev")(t, root, canary)
		}, ""},
		{"tmp", link("CANARY", "tmp"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.newBox(t)
			canary := filepath.Join(b.dir, "canary")
			must(t, os.Mkdir(canary, 0o777))
			must(t, os.Chmod(canary, 0o777))
			must(t, os.WriteFile(filepath.Join(canary, "file"), []byte("alive"), 0o666))
			layer := filepath.Join(b.dir, "hostile")
			must(t, os.Mkdir(layer, 0o755))
			must(t, os.CopyFS(filepath.Join(b.dir, "root"), os.DirFS(s.lower)))
			root := filepath.Join(b.dir, "root")
			c.prepare(t, root, canary)
			b.c.Rootfs.Lower = []string{root}
			if c.mount != "" {
				source := filepath.Join(b.dir, "source")
				must(t, os.WriteFile(source, nil, 0o644))
				if c.mount != "/etc/resolv.conf" {
					source = b.dir
				}
				b.c.Spec.Mounts = append(b.c.Spec.Mounts, rspec.Mount{Type: "bind", Source: source, Destination: c.mount, Options: []string{"rbind"}})
			}
			before := mountinfo(t)
			r := b.run("exit", "0")
			if r.err == nil {
				t.Errorf("it was started, code %d", r.ShellCode())
			}
			entries, err := os.ReadDir(canary)
			must(t, err)
			data, err := os.ReadFile(filepath.Join(canary, "file"))
			if len(entries) != 1 || err != nil || string(data) != "alive" {
				t.Errorf("the canary has %v, its file %q, %v", entries, data, err)
			}
			if after := mountinfo(t); after != before {
				t.Errorf("the host's mounts changed:\n%s", after)
			}
		})
	}
}

// mountinfo lists the host's mounts where a container could have left one; others may come and go meanwhile.
func mountinfo(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var lines []string
	for line := range strings.Lines(string(data)) {
		at := strings.Fields(line)[4]
		for _, dir := range []string{"/proc", "/sys", "/dev", os.TempDir() + "/backend"} {
			if strings.HasPrefix(at, dir) {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "")
}
