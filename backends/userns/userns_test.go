package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/asuser"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "report-self" {
		reportSelf()
		return
	}
	os.Exit(asuser.Main(m))
}

func TestKeepID(t *testing.T) {
	for _, c := range []struct {
		name  string
		id    uint32
		spans []span
		want  []Range
	}{
		{"one range", 1000, []span{{100000, 65536}},
			[]Range{{0, 100000, 1000}, {1000, 1000, 1}, {1001, 101000, 64536}}},
		{"two ranges, the id in the second", 1000, []span{{200, 500}, {100000, 65536}},
			[]Range{{0, 200, 500}, {500, 100000, 500}, {1000, 1000, 1}, {1001, 100500, 65036}}},
		{"the id at a seam", 500, []span{{200000, 500}, {100000, 65536}},
			[]Range{{0, 200000, 500}, {500, 500, 1}, {501, 100000, 65536}}},
		{"the id beyond the range", 200000, []span{{100000, 65536}},
			[]Range{{0, 100000, 65536}, {200000, 200000, 1}}},
		{"the id right after the range", 65536, []span{{100000, 65536}},
			[]Range{{0, 100000, 65536}, {65536, 65536, 1}}},
	} {
		if got := keepID(c.id, c.spans); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// In the other mapping of the same ids the user is root.
func TestOwnRoot(t *testing.T) {
	for _, c := range []struct {
		id    uint32
		spans []span
		want  []Range
	}{
		{1000, []span{{100000, 65536}}, []Range{{0, 1000, 1}, {1, 100000, 65536}}},
		{1000, []span{{100000, 500}, {300000, 65536}}, []Range{{0, 1000, 1}, {1, 100000, 500}, {501, 300000, 65536}}},
		{70000, []span{{100000, 65536}}, []Range{{0, 70000, 1}, {1, 100000, 65536}}},
	} {
		m := &Mapping{UID: keepID(c.id, c.spans), GID: keepID(c.id, c.spans), newuidmap: "x"}
		if got := m.OwnRoot(); !slices.Equal(got.UID, c.want) || !slices.Equal(got.GID, c.want) || got.newuidmap != "x" {
			t.Errorf("%d %v: %+v, want %v", c.id, c.spans, got, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
	for _, c := range []struct {
		name, subuid, subgid, tools, user, want string
	}{
		{"by name", "bob:1:5\nann:100000:65536\n", "ann:200000:65536\n", "newuidmap newgidmap", "", ""},
		{"by number", "1000:100000:65536\n", "1000:100000:65536", "newuidmap newgidmap", "", ""},
		{"in two ranges", "ann:100000:60000\nann:300000:5536\n", "ann:100000:65536\n", "newuidmap newgidmap", "", ""},
		{"no range", "bob:100000:65536\n", "ann:100000:65536\n", "newuidmap newgidmap", "",
			"user ann has no subordinate ids in /etc/subuid: run: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann"},
		{"no group range", "ann:100000:65536\n", "", "newuidmap newgidmap", "", "user ann has no subordinate ids in /etc/subgid"},
		{"too small", "ann:100000:65535\n", "ann:100000:65536\n", "newuidmap newgidmap", "", "has 65535 subordinate ids in /etc/subuid and needs 65536"},
		{"damaged lines", "ann\nann:x:y\nann:4294967295:65536\nann:-1:65536\n:::\n", "ann:100000:65536\n", "newuidmap newgidmap", "", "has no subordinate ids"},
		{"no tool", "ann:100000:65536\n", "ann:100000:65536\n", "newuidmap", "", "newgidmap is not installed: install the package uidmap"},
	} {
		root := t.TempDir() + "/"
		for name, text := range map[string]string{"etc/passwd": passwd, "etc/subuid": c.subuid, "etc/subgid": c.subgid} {
			write(t, root+name, text)
		}
		for _, tool := range strings.Fields(c.tools) {
			write(t, root+"usr/bin/"+tool, "#!")
		}
		_, err := host{root: root, user: c.user}.lookup(1000, 1000)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrUnavailable)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestPasswd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	text := "root:x:0:0:root:/root:/bin/sh\n# 1000\nshort:x:1000\nada:x:1000:1000:Ada:/home/ada:/bin/bash\nlast:x:1001:1001::/:"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "root /root", 1000: "ada /home/ada", 1001: "last /", 7: ""} {
		got := ""
		if f := passwd(file, uid); f != nil {
			got = f[0] + " " + f[5]
		}
		if got != want {
			t.Errorf("%d is %q, want %q", uid, got, want)
		}
	}
	if f := passwd(file+".none", 0); f != nil {
		t.Errorf("a file that is not there knows %q", f)
	}
}

func TestLookupAsksTheNameService(t *testing.T) {
	root := t.TempDir() + "/"
	write(t, root+"usr/bin/newuidmap", "")
	write(t, root+"usr/bin/newgidmap", "")
	h := host{root: root, user: "eve", run: func(group bool, name string) ([]span, error) {
		if name != "eve" {
			return nil, fmt.Errorf("asked for %q", name)
		}
		return []span{{500000, 65536}}, nil
	}}
	m, err := h.lookup(7, 7)
	if err != nil || m.UID[0] != (Range{0, 500000, 7}) {
		t.Fatalf("%v, %v", m, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// reportSelf runs inside: it tells what it is and then waits for its standard input to end.
func reportSelf() {
	status, _ := os.ReadFile("/proc/self/status")
	uidmap, _ := os.ReadFile("/proc/self/uid_map")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "SigBlk") {
			fmt.Print(line)
		}
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	extra, _ := io.ReadAll(os.NewFile(3, "extra"))
	err := unix.Mount("none", "/tmp", "tmpfs", 0, "")
	fmt.Printf("ids %d %d\nmapped %d\nfds %d\nextra %s\nmount %v\nenv %v\nargs %v\n", os.Getuid(), os.Getgid(),
		strings.Count(string(uidmap), "\n"), len(fds), extra, err, os.Environ(), os.Args)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(7)
}

func TestStart(t *testing.T) {
	m := lookup(t)
	before := mounts(t)
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	exR, exW := pipe(t)
	exW.WriteString("from outside")
	exW.Close()
	p, err := Start(m, &Command{
		Path: "/proc/self/exe", Args: []string{"test", "report-self"}, Env: []string{"A=b"},
		Files: []*os.File{inR, outW, os.Stderr, exR},
	})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	inR.Close()
	inW.Close()
	out, err := io.ReadAll(outR)
	if err != nil {
		t.Fatal(err)
	}
	if ws, err := p.Wait(); err != nil || ws.ExitStatus() != 7 {
		t.Errorf("status %x, error %v", ws, err)
	}
	want := []string{"ids 0 0\n", "extra from outside\n", "mount <nil>\n", "env [A=b]\n", "args [test report-self]\n", "SigBlk:\t0000000000000000\n"}
	if m != nil {
		want = append(want, "mapped 3\n", "CapEff:\t000001ffffffffff\n")
	}
	for _, w := range want {
		if !strings.Contains(string(out), w) {
			t.Errorf("missing %q in\n%s", w, out)
		}
	}
	if after := mounts(t); after != before {
		t.Errorf("host mounts changed:\n%s", after)
	}
}

func TestStartDiesWithItsStarter(t *testing.T) {
	m := lookup(t)
	inR, inW := pipe(t)
	defer inW.Close()
	p, err := Start(m, &Command{Path: "/bin/cat", Args: []string{"cat"}, Files: []*os.File{inR, os.Stdout, os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if ws, err := p.Wait(); err != nil || ws.Signal() != unix.SIGTERM {
		t.Errorf("status %x, error %v", ws, err)
	}
}

func TestStartFailures(t *testing.T) {
	m := lookup(t)
	for path, want := range map[string]string{
		"/nonexistent": "start /nonexistent: execute: no such file or directory",
		"/etc/passwd":  "start /etc/passwd: execute: permission denied",
	} {
		if _, err := Start(m, &Command{Path: path, Args: []string{"x"}}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if m != nil {
		bad := &Mapping{UID: []Range{{0, 1, 1}}, GID: m.GID, newuidmap: m.newuidmap, newgidmap: m.newgidmap}
		if _, err := Start(bad, &Command{Path: "/bin/true", Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "newuidmap") {
			t.Errorf("a range of somebody else's: error %v", err)
		}
		bad.newuidmap = "/nonexistent"
		if _, err := Start(bad, &Command{Path: "/bin/true", Args: []string{"true"}}); !errors.Is(err, unix.ENOENT) {
			t.Errorf("no newuidmap: error %v", err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if _, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); err == unix.ECHILD {
			return
		}
	}
	t.Error("a child is left")
}

func lookup(t *testing.T) *Mapping {
	t.Helper()
	m, err := Lookup()
	if err != nil {
		t.Skipf("this user has no user namespace: %v", err)
	}
	return m
}

func mounts(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
