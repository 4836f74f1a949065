package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite what is expected")

// fakeHost is a host that a text tells: files, and what is no file in lines of words.
type fakeHost struct {
	files   map[string]string
	stats   map[string]File
	systems map[string]FileSystem
	tools   map[string]string
	tried   map[Attempt]error
	subject Subject
	env     map[string]string
}

func (h *fakeHost) ReadFile(path string) ([]byte, error) {
	text, found := h.files[path]
	if !found {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (h *fakeHost) Stat(path string) (File, error) {
	if f, found := h.stats[path]; found {
		return f, nil
	}
	if _, found := h.files[path]; found {
		return File{Mode: 0o644}, nil
	}
	return File{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
}

func (h *fakeHost) FileSystem(path string) (FileSystem, error) {
	for ; path != "/"; path = filepath.Dir(path) {
		if f, found := h.systems[path]; found {
			return f, nil
		}
	}
	return h.systems["/"], nil
}

func (h *fakeHost) Program(name string) string { return h.tools[name] }

func (h *fakeHost) Try(_ context.Context, what Attempt) error { return h.tried[what] }

// newFake reads a host: what every healthy one has, and the lines that make it this one.
func newFake(a *txtar.Archive) (*fakeHost, error) {
	h := &fakeHost{
		files: map[string]string{}, stats: map[string]File{}, tools: map[string]string{}, tried: map[Attempt]error{}, env: map[string]string{},
		systems: map[string]FileSystem{"/": {Type: "ext4", Free: 100 << 30, Total: 200 << 30, FreeInodes: 9_000_000, Inodes: 10_000_000}},
	}
	h.subject = Subject{
		UID: 1000, GID: 1000, User: "mika", Getenv: func(n string) string { return h.env[n] }, Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Programs: []string{"/usr/bin/karapace", "/usr/bin/karapace-store"}, Store: "/home/mika/.local/share/karapace", NoStore: true,
		Runtimes: []Runtime{{Name: "namespace", Available: true}},
	}
	for _, line := range []string{
		"stat /usr/bin/karapace 755 0", "stat /usr/bin/karapace-store 755 0", "stat /usr/bin/newuidmap 4755 0", "stat /usr/bin/newgidmap 4755 0",
		"stat /proc/self/ns/user 444 0", "program usermod /usr/sbin/usermod", "stat /run/systemd/system d755 0", "stat /run/user/1000 d700 1000",
		"env XDG_RUNTIME_DIR /run/user/1000", "stat /sys/fs/cgroup/cgroup.controllers 444 0",
	} {
		if err := h.line(line); err != nil {
			return nil, err
		}
	}
	const service = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
	h.files = map[string]string{
		"/proc/sys/kernel/osrelease": "6.12.9\n", "/proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno\n",
		"/proc/sys/user/max_user_namespaces": "127000\n", "/proc/key-users": "    0:     9 8/8 3/1000000 40/25000000\n 1000:     4 4/4 4/200 40/20000\n",
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\nmika:x:1000:1000::/home/mika:/bin/sh\n", "/etc/subuid": "mika:524288:65536\n", "/etc/subgid": "mika:524288:65536\n",
		"/proc/self/cgroup": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n", "/proc/filesystems": "nodev\toverlay\n",
		service + "/cgroup.controllers": "cpu memory pids\n",
	}
	for _, f := range a.Files {
		if name := "/" + f.Name; f.Name != "want" {
			h.files[name] = string(f.Data)
		}
	}
	for line := range strings.Lines(string(a.Comment)) {
		if err := h.line(strings.TrimSpace(line)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *fakeHost) line(line string) error {
	f := strings.Fields(line)
	if len(f) == 0 || f[0] == "#" {
		return nil
	}
	rest := func(n int) string { return strings.Join(f[min(n, len(f)):], " ") }
	switch f[0] {
	case "stat": // PATH [d]MODE UID [capabilities|mtime=YEAR]
		octal, isDir := strings.CutPrefix(f[2], "d")
		mode, err := strconv.ParseUint(octal, 8, 32)
		if err != nil {
			return err
		}
		uid, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			return err
		}
		file := File{Mode: fs.FileMode(mode & 0o777), UID: uint32(uid), Capabilities: rest(4) == "capabilities"}
		if mode&0o4000 != 0 {
			file.Mode |= fs.ModeSetuid
		}
		if isDir {
			file.Mode |= fs.ModeDir
		}
		if year, found := strings.CutPrefix(rest(4), "mtime="); found {
			n, err := strconv.Atoi(year)
			if err != nil {
				return err
			}
			file.ModTime = time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		h.stats[f[1]] = file
	case "gone":
		delete(h.stats, f[1])
		delete(h.files, f[1])
		delete(h.tools, f[1])
	case "program":
		h.tools[f[1]] = f[2]
	case "env":
		h.env[f[1]] = rest(2)
	case "try":
		h.tried[Attempt(f[1])] = errors.New(rest(2))
	case "root":
		h.subject.UID, h.subject.GID, h.subject.User, h.subject.Store = 0, 0, "root", "/var/lib/karapace"
	case "store":
		h.subject.NoStore = false
	case "broken":
		h.subject.NoStore, h.subject.StoreErr, h.subject.StoreHint = false, errors.New(rest(1)), "karapace migrate"
	case "filesystem": // PATH TYPE FREE-MIB FREE-INODES [ro|nosuid]
		free, _ := strconv.ParseUint(f[3], 10, 64)
		inodes, _ := strconv.ParseUint(f[4], 10, 64)
		h.systems[f[1]] = FileSystem{Type: f[2], Free: free << 20, Total: 100 << 30, FreeInodes: inodes, Inodes: inodes, ReadOnly: rest(5) == "ro", NoSUID: rest(5) == "nosuid"}
	case "runtime": // NAME PATH VERSION | NAME unusable PATH REASON | NAME
		r := Runtime{Name: f[1], Available: len(f) > 2}
		switch {
		case len(f) > 2 && f[2] == "unusable":
			r.Path, r.Reason, r.Available = f[3], rest(4), false
		case len(f) > 2:
			r.Path, r.Version = f[2], f[3]
		default:
			r.Reason = "not installed"
		}
		h.subject.Runtimes = append(h.subject.Runtimes, r)
	case "kernel-too-old":
		h.subject.Runtimes[0] = Runtime{Name: "namespace", Reason: "the kernel is older than Linux 5.12"}
	case "now":
		t, err := time.Parse(time.DateOnly, f[1])
		h.subject.Now = t
		return err
	case "names": // uids and gids of a name service
		n, err := strconv.ParseUint(f[1], 10, 32)
		h.subject.Subordinate = func() (uint64, uint64) { return n, n }
		return err
	default:
		return fmt.Errorf("%q is no line of a host", line)
	}
	return nil
}

// What is said about hosts of many distributions, healthy and not. The text of a host lists how it differs from one on which
// nothing is wrong.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d hosts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h, err := newFake(a)
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, Examine(context.Background(), h, &h.subject))
			i := len(a.Files) - 1
			if i < 0 || a.Files[i].Name != "want" {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				i++
			}
			if *update {
				a.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(a.Files[i].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s(go test -update rewrites %s)", got, want, file)
			}
		})
	}
}

// render writes what differs from a plain ok, and holds every check to what a check promises.
func render(t *testing.T, checks []Check) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, c := range checks {
		if seen[c.Name] || c.Name == "" || c.Detail == "" {
			t.Errorf("check %+v has no name or detail, or is there twice", c)
		}
		seen[c.Name] = true
		if c.Status != OK && (c.Meaning == "" || c.Fix == "") {
			t.Errorf("check %s is no help: %+v", c.Name, c)
		}
		if strings.ContainsAny(c.Fix, "\n\t") {
			t.Errorf("the fix of %s cannot be pasted: %q", c.Name, c.Fix)
		}
		fmt.Fprintf(&b, "%s %s: %s\n", c.Status, c.Name, c.Detail)
		if c.Meaning != "" {
			fmt.Fprintf(&b, "  because %s\n", c.Meaning)
		}
		if c.Fix != "" {
			fmt.Fprintf(&b, "  > %s\n", c.Fix)
		}
	}
	return b.String()
}

// Every line of a runtime that is still kept has its own oldest safe version.
func TestOutdated(t *testing.T) {
	for _, c := range []struct{ runtime, version, want string }{
		{"runc", "1.1.5+ds1", "1.3.7"}, {"runc", "1.3.6", "1.3.7"}, {"runc", "1.3.7", ""}, {"runc", "1.3.10", ""}, {"runc", "1.4.3", "1.4.4"}, {"runc", "1.4.4", ""},
		{"runc", "1.5.2", "1.5.3"}, {"runc", "1.5.3", ""}, {"runc", "1.6.0-rc.1", ""}, {"runc", "2.0.0", ""}, {"runc", "v1.2.0", "1.3.7"}, {"runc", "unknown", ""},
		{"crun", "1.8.1", "1.30"}, {"crun", "1.29.9", "1.30"}, {"crun", "1.30", ""}, {"crun", "1.30.1", ""}, {"crun", "2.0", ""}, {"crun", "", ""},
		{"youki", "0.0.1", ""},
	} {
		if got := outdated(c.version, safe(c.runtime)); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.runtime, c.version, got, c.want)
		}
	}
}

// A command holds whatever a user or a path is called as one word.
func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"mika": "mika", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''", `DOM\mika`: `'DOM\mika'`} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
