package usage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// process is one of a /proc that is not there.
type process struct {
	pid, parent int
	ns          string // empty: not to be seen
	state       string
	ticks       int // own time; the children's is ten times as much
	threads     int
	pages, pss  int // pss in kB; 0: not to be seen
	read        int // bytes; written is twice as much; 0: not to be seen
}

func fakeProc(t *testing.T, list []process) string {
	t.Helper()
	dir := t.TempDir()
	put := func(pid int, name, text string) {
		path := filepath.Join(dir, strconv.Itoa(pid), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range list {
		put(p.pid, "stat", fmt.Sprintf("%d (odd) name) %s %d 1 1 0 -1 4 0 0 0 0 %d 0 %d 0 20 0 %d 0 100 4096 %d 18446744073709551615 0\n", p.pid, p.state, p.parent, p.ticks, 10*p.ticks, p.threads, p.pages))
		if p.pss > 0 {
			put(p.pid, "smaps_rollup", fmt.Sprintf("0-1 ---p 00000000 00:00 0 [rollup]\nRss: 1 kB\nPss:       %d kB\nPss_Dirty: 1 kB\n", p.pss))
		}
		if p.read > 0 {
			put(p.pid, "io", fmt.Sprintf("rchar: 1\nread_bytes: %d\nwrite_bytes: %d\ncancelled_write_bytes: 0\n", p.read, 2*p.read))
		}
		if p.ns != "" {
			put(p.pid, "ns/x", "")
			if err := os.Symlink(p.ns, filepath.Join(dir, strconv.Itoa(p.pid), "ns/pid")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink("1", filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stat"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Processes count for the container in whose pid namespace they are, or in one below it, however deep.
func TestProcesses(t *testing.T) {
	page := int64(os.Getpagesize())
	above := map[string]string{"pid:[30]": "pid:[10]", "pid:[31]": "pid:[30]", "pid:[40]": "pid:[1]"}
	h := host{proc: fakeProc(t, []process{
		{pid: 1, ns: "pid:[1]", state: "S", ticks: 1000, threads: 7, pages: 100},
		{pid: 10, parent: 1, ns: "pid:[10]", state: "S", ticks: 1, threads: 1, pss: 4},
		{pid: 11, parent: 1, ns: "pid:[10]", state: "R", ticks: 2, threads: 3, pages: 9, pss: 8, read: 5},
		{pid: 12, parent: 11, ns: "pid:[10]", state: "Z", ticks: 3, threads: 1},
		{pid: 13, parent: 11, ns: "pid:[30]", state: "S", ticks: 4, threads: 1, pages: 2, read: 7},
		{pid: 14, parent: 13, ns: "pid:[31]", state: "S", ticks: 5, threads: 1, pss: 16},
		{pid: 20, parent: 1, ns: "pid:[20]", state: "S", ticks: 6, threads: 1, pss: 32},
		{pid: 21, parent: 1, state: "S", ticks: 1000, threads: 9, pages: 100},
		{pid: 22, parent: 1, ns: "pid:[40]", state: "S", ticks: 1000, threads: 9, pages: 100},
	})}
	h.parent = func(file string) string {
		ns, err := os.Readlink(file)
		if err != nil {
			t.Error(err)
		}
		return above[ns]
	}
	got, err := h.processes([]Container{{Pid: 10}, {Pid: 20}, {Pid: 99}})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{CPU: FromProcesses, Memory: FromProcesses, IO: FromProcesses}
	want := []Usage{
		{CPU: 11 * (1 + 2 + 3 + 4 + 5) * tick, Memory: (4+8+16)<<10 + 2*page, Processes: 3, Threads: 5, Read: 12, Written: 24, From: all},
		{CPU: 66 * tick, Memory: 32 << 10, From: map[string]string{CPU: FromProcesses, Memory: FromProcesses}},
		{From: map[string]string{}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestGroups(t *testing.T) {
	const none = "9223372036854771712\n"
	for name, c := range map[string]struct {
		files map[string]string // by directory/name
		want  Usage
	}{
		"version 2": {map[string]string{
			"a/cpu.stat": "usage_usec 1500\nuser_usec 1000\n", "a/memory.current": "4096\n", "a/memory.max": "8192\n",
			"a/io.stat": "8:0 rbytes=1 wbytes=2 rios=9 wios=9 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20\n253:0 \n",
		}, Usage{CPU: 1500 * time.Microsecond, Memory: 4096, MemoryLimit: 8192, Read: 11, Written: 22, From: map[string]string{CPU: FromGroup, Memory: FromGroup, IO: FromGroup}}},
		"version 2, unlimited": {map[string]string{"a/memory.current": "4096\n", "a/memory.max": "max\n"},
			Usage{CPU: 7, Memory: 4096, Read: 7, Written: 7, From: map[string]string{CPU: FromProcesses, Memory: FromGroup, IO: FromProcesses}}},
		"version 1": {map[string]string{
			"a/cpuacct.usage": "123\n", "b/memory.usage_in_bytes": "5\n", "b/memory.limit_in_bytes": "9\n",
			"c/blkio.throttle.io_service_bytes": "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:16 Read 4\nTotal 10\n",
		}, Usage{CPU: 123, Memory: 5, MemoryLimit: 9, Read: 5, Written: 2, From: map[string]string{CPU: FromGroup, Memory: FromGroup, IO: FromGroup}}},
		"version 1, memory only": {map[string]string{"b/memory.usage_in_bytes": "5\n", "b/memory.limit_in_bytes": none},
			Usage{CPU: 7, Memory: 5, Read: 7, Written: 7, From: map[string]string{CPU: FromProcesses, Memory: FromGroup, IO: FromProcesses}}},
		"odd": {map[string]string{"a/memory.current": "much\n", "a/cpu.stat": "usage_usec\n", "a/memory.max": ""},
			Usage{CPU: 7, Memory: 7, Read: 7, Written: 7, From: map[string]string{CPU: FromProcesses, Memory: FromProcesses, IO: FromProcesses}}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			u := Usage{CPU: 7, Memory: 7, Read: 7, Written: 7, From: map[string]string{CPU: FromProcesses, Memory: FromProcesses, IO: FromProcesses}}
			readGroups([]string{root + "/a", root + "/b", root + "/c", root + "/gone"}, &u)
			if !reflect.DeepEqual(u, c.want) {
				t.Errorf("got  %+v\nwant %+v", u, c.want)
			}
		})
	}
}

// The machine's own /proc is of the form that is expected, and a pid namespace of a real process is told from this one's.
func TestRealProcesses(t *testing.T) {
	self, err := system().stat(os.Getpid())
	if err != nil || self.dead || self.parent != os.Getppid() || self.threads < 1 || self.memory < 1<<20 {
		t.Errorf("this process is %+v, %v", self, err)
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespaces here: %v", err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	file := fmt.Sprintf("/proc/%d/ns/pid", cmd.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	if got := parentNamespace(file); got != own {
		t.Errorf("above %s is %q, want %q", file, got, own)
	}
	got, err := Measure([]Container{{Pid: cmd.Process.Pid}})
	if err != nil || got[0].Processes != 0 || got[0].Memory == 0 || got[0].From[Memory] != FromProcesses {
		t.Errorf("measured %+v, %v", got, err)
	}
}
