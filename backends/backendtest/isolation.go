package backendtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

func testIdentity(t *testing.T, s *suite) {
	b := s.newBox(t)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	mask := uint32(0o027)
	oom := 500
	for _, c := range []struct {
		name    string
		user    rspec.User
		want    []string
		machine string
	}{
		{"root", rspec.User{}, []string{"uid 0\n", "gid 0\n", "groups []\n", "umask 022\n"}, ""},
		{"the user", rspec.User{UID: uid, GID: gid}, []string{fmt.Sprintf("uid %d\n", uid), fmt.Sprintf("gid %d\n", gid)}, ""},
		{"somebody", rspec.User{UID: 33, GID: 34, AdditionalGids: []uint32{5, 60000}, Umask: &mask},
			[]string{"uid 33\n", "gid 34\n", "groups [5 60000]\n", "umask 027\n"}, ""},
	} {
		container := b.with("self")
		container.Spec.Process.User = c.user
		container.Spec.Process.OOMScoreAdj = &oom
		got := b.outputOf(container)
		for _, want := range append(c.want, "session true\n", "host box\n", "oom 500\n", "NoNewPrivs:\t1\n", "SigBlk:\t0000000000000000\n") {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is missing in\n%s", c.name, want, got)
			}
		}
	}
}

func testCapabilities(t *testing.T, s *suite) {
	b := s.newBox(t)
	chown, bind := []string{"CAP_CHOWN"}, []string{"CAP_NET_BIND_SERVICE"}
	both := append(chown[:1:1], bind...)
	for _, c := range []struct {
		name string
		user uint32
		caps *rspec.LinuxCapabilities
		want map[string]string
	}{
		{"none", 0, &rspec.LinuxCapabilities{}, map[string]string{"CapPrm": "0", "CapEff": "0", "CapBnd": "0", "CapInh": "0", "CapAmb": "0"}},
		{"of root", 0, &rspec.LinuxCapabilities{Bounding: both, Permitted: both, Effective: both},
			map[string]string{"CapPrm": "401", "CapEff": "401", "CapBnd": "401", "CapInh": "0", "CapAmb": "0"}},
		{"bounding of a user", 33, &rspec.LinuxCapabilities{Bounding: both, Permitted: both, Effective: both},
			map[string]string{"CapPrm": "0", "CapEff": "0", "CapBnd": "401", "CapAmb": "0"}},
		{"ambient of a user", 33, &rspec.LinuxCapabilities{Bounding: both, Permitted: both, Effective: both, Inheritable: bind, Ambient: bind},
			map[string]string{"CapPrm": "400", "CapEff": "400", "CapBnd": "401", "CapInh": "400", "CapAmb": "400"}},
	} {
		container := b.with("self")
		container.Spec.Process.Capabilities = c.caps
		container.Spec.Process.User.UID = c.user
		got := b.outputOf(container)
		for key, want := range c.want {
			if have := strings.TrimLeft(fact(got, key), "0"); have != strings.TrimLeft(want, "0") {
				t.Errorf("%s: %s is %s, want %s", c.name, key, have, want)
			}
		}
	}
	container := b.with("self")
	container.Spec.Process.NoNewPrivileges = false
	if got := fact(b.outputOf(container), "NoNewPrivs"); got != "0" {
		t.Errorf("NoNewPrivs %s without being asked for", got)
	}
}

func testLimits(t *testing.T, s *suite) {
	b := s.newBox(t)
	c := b.with("self")
	c.Spec.Process.Rlimits = []rspec.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 200, Hard: 300}}
	// A Go program raises its own soft limit to the hard one.
	if got := fact(b.outputOf(c), "nofile"); !strings.HasSuffix(got, " 300") {
		t.Errorf("limit %s, want 300", got)
	}
	c.Spec.Process.Rlimits[0].Type = "RLIMIT_NOSUCH"
	if r := b.runContainer(c); r.err == nil {
		t.Error("an unknown limit is accepted")
	}
}

func testSeccomp(t *testing.T, s *suite) {
	b := s.newBox(t)
	errno := uint(unix.ENOTNAM)
	c := b.with("syscall", fmt.Sprint(unix.SYS_GETPPID))
	c.Spec.Linux.Seccomp = &rspec.LinuxSeccomp{
		DefaultAction: rspec.ActAllow,
		Architectures: []rspec.Arch{rspec.ArchX86_64, rspec.ArchX86, rspec.ArchX32},
		Syscalls:      []rspec.LinuxSyscall{{Names: []string{"getppid", "no_such_call"}, Action: rspec.ActErrno, ErrnoRet: &errno}},
	}
	if runtime.GOARCH != "amd64" {
		c.Spec.Linux.Seccomp.Architectures = nil
	}
	want := fmt.Sprintln(int(unix.ENOTNAM))
	for _, nnp := range []bool{true, false} {
		c.Spec.Process.NoNewPrivileges = nnp
		if got := b.outputOf(c); got != want {
			t.Errorf("no_new_privs %v: getppid gives errno %q, want %q", nnp, got, want)
		}
	}
	c.Spec.Process.Args = []string{"box", "self"}
	if got := fact(b.outputOf(c), "Seccomp"); got != "2" {
		t.Errorf("Seccomp mode %s", got)
	}
	if runtime.GOARCH == "amd64" {
		c.Spec.Process.Args = []string{"box", "int80", "64"} // getppid of i386
		if r := b.runContainer(c); r.ShellCode() != 128+int(unix.SIGSEGV) && r.stdout != fmt.Sprintln(-int(unix.ENOTNAM)) {
			t.Errorf("getppid of i386 gives %q, code %d", r.stdout, r.ShellCode())
		}
		c.Spec.Process.Args = []string{"box", "syscall", fmt.Sprint(unix.SYS_GETPPID | 0x40000000)}
		if got := b.outputOf(c); got != want && got != fmt.Sprintln(int(unix.ENOSYS)) {
			t.Errorf("getppid of x32 gives %q", got)
		}
	}
}

// Limits are in force for every session, or the host is said to be unable; afterwards nothing is left of them.
func testResources(t *testing.T, s *suite) {
	b := s.newBox(t)
	shares, limit := uint64(512), int64(64<<20)
	b.c.Spec.Linux.Resources = &rspec.LinuxResources{CPU: &rspec.LinuxCPU{Shares: &shares}, Memory: &rspec.LinuxMemory{Limit: &limit}}
	group := "karapace-" + b.c.ID
	first := b.start("eat", "1")
	var missing *backends.Error
	if r := b.run("exit", "0"); errors.As(r.err, &missing) {
		if missing.Kind != backends.Prerequisite || !strings.Contains(missing.Error(), "cannot enforce limits") {
			t.Errorf("error %v", r.err)
		}
		t.Skipf("%v", missing)
	}
	first.want("ate 1")
	for _, when := range []string{"second session", "only session"} {
		if r := b.run("eat", "256"); r.ShellCode() != 128+int(unix.SIGKILL) {
			t.Errorf("%s: 256 MiB of 64: code %d, error %v, %s%s", when, r.ShellCode(), r.err, r.stdout, r.stderr)
		}
		if r := b.run("loosen", "256"); r.ShellCode() != 128+int(unix.SIGKILL) {
			t.Errorf("%s: 256 MiB of 64, by a root of its own: code %d, error %v, %s%s", when, r.ShellCode(), r.err, r.stdout, r.stderr)
		}
		first.stdin.Close()
		if when == "second session" {
			first.wait()
			b.gone()
		}
	}
	b.gone()
	eventually(t, "removal of the group", func() bool {
		found, _ := filepath.Glob("/sys/fs/cgroup/*/" + group)
		deeper, _ := filepath.Glob("/sys/fs/cgroup/*/*/" + group)
		return len(found)+len(deeper) == 0
	})
}

// No descriptor of the supervisor's may reach the command, wherever it stands.
func testDescriptors(t *testing.T, s *suite) {
	b := s.newBox(t)
	for _, when := range []string{"first session", "second session"} {
		session := b.startContainer(b.with("fds"), func(cmd *exec.Cmd) {
			for range 28 {
				f, err := os.Open("/etc/passwd")
				must(t, err)
				t.Cleanup(func() { f.Close() })
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
		})
		for fd := range 3 {
			if got := session.line(); !strings.HasPrefix(got, fmt.Sprintf("%d pipe:", fd)) {
				t.Errorf("%s: descriptor %q", when, got)
			}
		}
		if rest, _ := session.stdout.ReadString(0); rest != "" {
			t.Errorf("%s: more descriptors: %s", when, rest)
		}
		session.wait()
		if when == "first session" {
			b.start("tell", "keeping").want("keeping")
		}
	}
}

func testRootfs(t *testing.T, s *suite) {
	t.Run("written to the upper directory", func(t *testing.T) {
		b := s.newBox(t)
		b.output("write", "/work/new", "content")
		data, err := os.ReadFile(filepath.Join(b.dir, "upper/work/new"))
		if err != nil || string(data) != "content" {
			t.Errorf("upper has %q, %v", data, err)
		}
		if got := b.output("read", "/work/new"); got != "content" {
			t.Errorf("the next container reads %q", got)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		b := s.newBox(t)
		c := b.with("write", "/work/new", "content")
		c.Spec.Root = &rspec.Root{Path: "rootfs", Readonly: true}
		if r := b.runContainer(c); r.ShellCode() != 99 || !strings.Contains(r.stderr, "read-only") {
			t.Errorf("code %d, error %v, %s", r.ShellCode(), r.err, r.stderr)
		}
	})
	t.Run("no upper directory", func(t *testing.T) {
		b := s.newBox(t)
		c := b.with("write", "/work/new", "content")
		c.Rootfs = backends.Rootfs{Lower: []string{s.lower}}
		if r := b.runContainer(c); r.ShellCode() != 99 || !strings.Contains(r.stderr, "read-only") {
			t.Errorf("code %d, error %v, %s", r.ShellCode(), r.err, r.stderr)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		b := s.newBox(t)
		copied := filepath.Join(b.dir, "copy")
		must(t, os.CopyFS(copied, os.DirFS(s.lower)))
		must(t, os.Chmod(filepath.Join(copied, "work"), 0o777))
		c := b.with("write", "/work/new", "content")
		c.Rootfs = backends.Rootfs{Dir: copied}
		b.outputOf(c)
		if _, err := os.Stat(filepath.Join(copied, "work/new")); err != nil {
			t.Error(err)
		}
	})
	t.Run("many layers, volatile, odd names", func(t *testing.T) {
		b := s.newBox(t)
		var lower []string
		for i := range 12 {
			dir := filepath.Join(b.dir, fmt.Sprintf(`a:b,c\d e%d`, i))
			must(t, os.MkdirAll(filepath.Join(dir, "layers"), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "layers", fmt.Sprint("l", i)), nil, 0o644))
			must(t, os.WriteFile(filepath.Join(dir, "layers/top"), []byte(fmt.Sprint(i)), 0o644))
			lower = append(lower, dir)
		}
		c := b.with("read", "/layers/top")
		c.Rootfs.Lower, c.Rootfs.Volatile = append(lower, s.lower), true
		if got := b.outputOf(c); got != "0" {
			t.Errorf("the topmost layer is %q", got)
		}
	})
	t.Run("too many layers", func(t *testing.T) {
		b := s.newBox(t)
		c := b.with("exit", "0")
		c.Rootfs.Lower = nil
		for i := range 300 {
			c.Rootfs.Lower = append(c.Rootfs.Lower, fmt.Sprintf("/somewhere/a-long-name-of-a-layer-%d", i))
		}
		if r := b.runContainer(c); r.err == nil || !strings.Contains(r.err.Error(), "302 layers") && !strings.Contains(r.err.Error(), "300 layers") {
			t.Errorf("error %v", r.err)
		}
	})
}

func testMasked(t *testing.T, s *suite) {
	b := s.newBox(t)
	for _, path := range []string{"/proc/keys", "/proc/timer_list"} {
		if got := b.output("read", path); got != "" {
			t.Errorf("%s can be read: %.60q", path, got)
		}
	}
	if got := b.output("list", "/sys/firmware"); got != "" {
		t.Errorf("/sys/firmware has %q", got)
	}
	for _, path := range []string{"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/profiling"} {
		if r := b.run("write", path, "x"); r.ShellCode() != 99 {
			t.Errorf("%s can be written: code %d, error %v", path, r.ShellCode(), r.err)
		}
	}
}

func testBinds(t *testing.T, s *suite) {
	b := s.newBox(t)
	host := filepath.Join(b.dir, "host")
	must(t, os.MkdirAll(filepath.Join(host, "sub"), 0o755))
	must(t, os.Chmod(filepath.Join(host, "sub"), 0o777))
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("of the host"), 0o644))
	private := filepath.Join(b.dir, "private")
	must(t, os.Mkdir(private, 0o700))
	must(t, os.WriteFile(filepath.Join(private, "file"), []byte("of the user"), 0o600))
	bind := func(source, target string, options ...string) rspec.Mount {
		return rspec.Mount{Type: "bind", Source: source, Destination: target, Options: options}
	}
	b.c.Spec.Mounts = append(b.c.Spec.Mounts,
		bind(host, "/made/on/the/way", "rbind", "rw"),
		bind(host, "/ro", "rbind", "ro"),
		bind(filepath.Join(host, "file"), "/etc/one", "bind"),
		bind(private, "/private", "rbind"),
		bind("/dev", "/devices", "rbind", "ro"), // has other file systems mounted below
	)
	if got := b.output("read", "/etc/one"); got != "of the host" {
		t.Errorf("the file has %q", got)
	}
	if got := b.output("read", "/private/file"); got != "of the user" {
		t.Errorf("the user's file has %q", got)
	}
	b.output("write", "/made/on/the/way/sub/new", "from inside")
	if data, err := os.ReadFile(filepath.Join(host, "sub/new")); err != nil || string(data) != "from inside" {
		t.Errorf("host has %q, %v", data, err)
	}
	if r := b.run("write", "/ro/sub/new2", "x"); r.ShellCode() != 99 || !strings.Contains(r.stderr, "read-only") {
		t.Errorf("read-only bind: code %d, %s", r.ShellCode(), r.stderr)
	}
	canary := "karapace-test-" + filepath.Base(b.dir)
	if r := b.run("write", "/devices/shm/"+canary, "x"); r.ShellCode() != 99 || !strings.Contains(r.stderr, "read-only") {
		t.Errorf("what is mounted below a read-only bind: code %d, %s", r.ShellCode(), r.stderr)
	}
	if os.Remove("/dev/shm/"+canary) == nil {
		t.Error("a file was made on the host, below a read-only bind")
	}
	b.gone()
	b.c.Spec.Mounts = append(b.c.Spec.Mounts, bind("/nonexistent/source", "/x", "bind"))
	if r := b.run("exit", "0"); r.err == nil || !strings.Contains(r.err.Error(), "/nonexistent/source") {
		t.Errorf("a source that is not there: error %v", r.err)
	}
}

func testDevices(t *testing.T, s *suite) {
	b := s.newBox(t)
	got := b.output("stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/fd", "/dev/stdin", "/dev/ptmx", "/dev/mqueue")
	for _, want := range []string{"/dev/null 20666 ", " 1:3\n", " 1:5\n", " 1:7\n", " 1:8\n", " 1:9\n", " 5:0\n", "/dev/fd 120777", "/dev/stdin 120777", "/dev/ptmx 120777"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if got := b.output("list", "/dev"); strings.Contains(got, "mem") || strings.Contains(got, "vda") || strings.Contains(got, "sda") {
		t.Errorf("/dev has %s", got)
	}
	b.output("write", "/dev/null", "x")
	b.output("write", "/dev/shm/x", "x")
}

func testNetwork(t *testing.T, s *suite) {
	b := s.newBox(t)
	b.c.Spec.Linux.Namespaces = append(b.c.Spec.Linux.Namespaces, rspec.LinuxNamespace{Type: rspec.NetworkNamespace})
	if got := b.output("interfaces"); got != "lo true\n" {
		t.Errorf("interfaces %q", got)
	}
	b.output("loopback")
}

func testRefused(t *testing.T, s *suite) {
	for name, change := range map[string]func(*rspec.Spec){
		"user namespace": func(c *rspec.Spec) {
			c.Linux.Namespaces = append(c.Linux.Namespaces, rspec.LinuxNamespace{Type: rspec.UserNamespace})
		},
		"namespace by path": func(c *rspec.Spec) { c.Linux.Namespaces[0].Path = "/proc/1/ns/pid" },
		"hooks":             func(c *rspec.Spec) { c.Hooks = &rspec.Hooks{CreateRuntime: []rspec.Hook{{Path: "/bin/true"}}} },
		"no pid namespace":  func(c *rspec.Spec) { c.Linux.Namespaces = c.Linux.Namespaces[1:] },
		"no arguments":      func(c *rspec.Spec) { c.Process.Args = nil },
		"NUL":               func(c *rspec.Spec) { c.Process.Args = []string{"box", "a\x00b"} },
		"relative target":   func(c *rspec.Spec) { c.Mounts = append(c.Mounts, rspec.Mount{Type: "tmpfs", Destination: "a"}) },
	} {
		b := s.newBox(t)
		c := b.with("exit", "0")
		change(c.Spec)
		r := b.runContainer(c)
		var e *backends.Error
		if !errors.As(r.err, &e) || e.Kind != backends.Invalid {
			t.Errorf("%s: code %d, error %v", name, r.ShellCode(), r.err)
		}
	}
}
