package backendtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/userns"
)

// patience is how long anything that must happen may take on a busy machine.
const patience = 20 * time.Second

// lowerDir makes the smallest root file system.
func lowerDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "lower")
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "run", "etc", "home", "work"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	box, err := os.ReadFile(os.Getenv(boxVariable))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "bin/box"), box, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "etc/plain"), []byte("no program\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/garbage"), []byte("no program\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "etc/secret"), []byte("secret\n"), 0o600))
	return dir
}

// scratch is a directory that containers may leave files of any owner in.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "backend")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if err := removeAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// removeAll removes what only root of the user namespace can.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	m, err := userns.Lookup()
	if err != nil {
		return err
	}
	p, err := userns.Start(m, &userns.Command{Path: "/bin/rm", Args: []string{"rm", "-rf", dir}, Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	ws, err := p.Wait()
	if err == nil && ws != 0 {
		err = errors.New("rm failed")
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// box is one container.
type box struct {
	*suite
	t   *testing.T
	dir string
	c   backends.Container
}

func (s *suite) newBox(t *testing.T) *box {
	t.Helper()
	m, err := userns.Lookup()
	if err != nil {
		t.Skipf("this user has no user namespace: %v", err)
	}
	b := &box{suite: s, t: t, dir: scratch(t)}
	for _, d := range []string{"upper", "work", "state", "bundle/rootfs"} {
		must(t, os.MkdirAll(filepath.Join(b.dir, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(b.dir, "bundle"), 0o700))
	b.c = backends.Container{
		ID: filepath.Base(b.dir), Bundle: filepath.Join(b.dir, "bundle"), State: filepath.Join(b.dir, "state"),
		Rootfs:  backends.Rootfs{Lower: []string{s.lower}, Upper: filepath.Join(b.dir, "upper"), Work: filepath.Join(b.dir, "work")},
		Mapping: m, Spec: Spec(),
	}
	t.Cleanup(b.ended)
	return b
}

// ended checks that nothing of the container is left once its sessions have ended.
func (b *box) ended() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.rt.Delete(ctx, &b.c); err != nil {
		b.t.Errorf("delete: %v", err)
		backends.Stop(ctx, b.c.State, 0)
	}
	if left := processes(b.c.ID); len(left) > 0 {
		b.t.Errorf("processes are left: %v", left)
	}
}

// with gives the container another process.
func (b *box) with(args ...string) *backends.Container {
	c := b.c
	spec := *b.c.Spec
	process := *spec.Process
	process.Args = append([]string{"box"}, args...)
	process.Env = slices.Clone(process.Env)
	spec.Process = &process
	c.Spec = &spec
	return &c
}

// result is what a session gave.
type result struct {
	backends.Exit
	err    error
	stdout string
	stderr string
}

// run runs box with the arguments in this process.
func (b *box) run(args ...string) result { return b.runContainer(b.with(args...)) }

func (b *box) runContainer(c *backends.Container) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience)
	defer cancel()
	outR, outW, err := os.Pipe()
	must(b.t, err)
	errR, errW, err := os.Pipe()
	must(b.t, err)
	stdout, stderr := drain(outR), drain(errR)
	var r result
	r.Exit, r.err = b.rt.Run(ctx, c, backends.Stdio{Out: outW, Err: errW})
	outW.Close()
	errW.Close()
	r.stdout, r.stderr = <-stdout, <-stderr
	return r
}

func drain(f *os.File) <-chan string {
	ch := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, f)
		f.Close()
		ch <- b.String()
	}()
	return ch
}

// output runs box and wants it to succeed.
func (b *box) output(args ...string) string { return b.outputOf(b.with(args...)) }

func (b *box) outputOf(c *backends.Container) string {
	b.t.Helper()
	r := b.runContainer(c)
	if r.err != nil || r.ShellCode() != 0 {
		b.t.Fatalf("%v: exit %d, error %v\n%s%s", c.Spec.Process.Args, r.ShellCode(), r.err, r.stdout, r.stderr)
	}
	return r.stdout
}

// processes lists this machine's processes with the mark in their arguments.
func processes(mark string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(text), mark) && filepath.Base(filepath.Dir(f)) != selfPid() {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func selfPid() string {
	to, _ := os.Readlink("/proc/self")
	return to
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// Spec is a spec as environments have it, whose process has no arguments yet.
func Spec() *rspec.Spec {
	capabilities := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	return &rspec.Spec{
		Version: "1.0.2", Root: &rspec.Root{Path: "rootfs"}, Hostname: "box",
		Process: &rspec.Process{
			Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"}, NoNewPrivileges: true,
			Capabilities: &rspec.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Mounts: []rspec.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
		},
		Linux: &rspec.Linux{
			Namespaces: []rspec.LinuxNamespace{
				{Type: rspec.PIDNamespace}, {Type: rspec.IPCNamespace}, {Type: rspec.UTSNamespace}, {Type: rspec.MountNamespace}, {Type: rspec.CgroupNamespace},
			},
			MaskedPaths:   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/nonexistent", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/nonexistent"},
		},
	}
}
