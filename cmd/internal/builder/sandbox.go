package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/namespace"
	"github.com/karapace/karapace/backends/oci"
	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// sandbox runs programs of a root file system in the fixed build environment. It is distro.Sandbox.
type sandbox struct {
	dir     string // of its own files
	root    string // the root file system
	env     []string
	runtime backends.Runtime
	mounted bool // root is a mount of ours
	fuse    bool // by fuse-overlayfs
	odd     circumstances
}

// newSandbox prepares a sandbox below a scratch directory; its root is empty.
func (b *build) newSandbox(scratch *storage.Scratch, epoch int64) (*sandbox, error) {
	env, err := distro.BuildEnv(b.lock.BuildEnvironment, epoch)
	if err != nil {
		return nil, failure.New(failure.Lock, err, "")
	}
	rt, err := b.runtime()
	if err != nil {
		return nil, err
	}
	sb := &sandbox{dir: scratch.Dir, root: filepath.Join(scratch.Dir, "root"), env: env, runtime: rt}
	if b.aside != nil {
		sb.odd = b.aside.odd
	}
	for _, d := range []string{sb.root, sb.Shared(), filepath.Join(sb.dir, "state")} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, failure.New(failure.Store, err, "")
		}
	}
	return sb, failure.New(failure.Store, bundle.Create(filepath.Join(sb.dir, "bundle")), "")
}

// runtime is what package managers run in.
func (b *build) runtime() (backends.Runtime, error) {
	switch name := b.req.Backend; name {
	case "", "namespace":
		return namespace.New(), nil
	case "oci", "crun", "runc", "youki":
		rt, err := oci.New(context.Background(), name, b.req.BackendDirs)
		return rt, failure.New(failure.Backend, err, "karapace backends shows what there is")
	default:
		return nil, failure.New(failure.Usage, fmt.Errorf("there is no backend %q to build in", name), "karapace backends shows what there is")
	}
}

func (s *sandbox) unmount() error {
	if !s.mounted {
		return nil
	}
	s.mounted = false
	if err := unix.Unmount(s.root, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", s.root, err)
	}
	return nil
}

// Shared implements distro.Sandbox.
func (s *sandbox) Shared() string { return filepath.Join(s.dir, "shared") }

// Run implements distro.Sandbox.
func (s *sandbox) Run(ctx context.Context, c distro.Command) error {
	var edits ocispec.Edits
	edits.Mounts = append(edits.Mounts, bind(s.Shared(), distro.SharedDir))
	for _, m := range slices.Concat(c.Binds, s.odd.binds()) {
		edits.Mounts = append(edits.Mounts, bind(m.Source, m.Target, "ro"))
	}
	spec := ocispec.Build("rootfs", c.Argv, slices.Concat(s.env, c.Env, s.odd.env()), edits)
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	out, stdout, err := s.stdout(c.Stdout, w)
	if err != nil {
		return err
	}
	tail := &tail{}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(tail, r); r.Close() })
	exit, err := s.runtime.Run(ctx, s.container(spec), backends.Stdio{Out: stdout, Err: w})
	w.Close()
	out()
	reading.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("run %s in the base: %w", c.Argv[0], err)
	case exit.ShellCode() != 0:
		return fmt.Errorf("%s ended with exit code %d in the base:\n%s", strings.Join(c.Argv, " "), exit.ShellCode(), tail)
	}
	return nil
}

// bind binds what is there: the store, for one, may lie behind a symbolic link, which backends do not follow.
func bind(source, target string, more ...string) rspec.Mount {
	if real, err := filepath.EvalSymlinks(source); err == nil {
		source = real
	}
	return rspec.Mount{Destination: target, Type: "bind", Source: source, Options: append([]string{"bind", "nosuid", "nodev"}, more...)}
}

func (s *sandbox) container(spec *rspec.Spec) *backends.Container {
	return &backends.Container{
		ID: filepath.Base(s.dir), Bundle: filepath.Join(s.dir, "bundle"), State: filepath.Join(s.dir, "state"), Spec: spec, Rootfs: backends.Rootfs{Dir: s.root},
		OwnSignals: true,
	}
}

// stdout gives the file a command writes to, and what to call when it has ended.
func (s *sandbox) stdout(to io.Writer, otherwise *os.File) (done func(), f *os.File, err error) {
	if to == nil {
		return func() {}, otherwise, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(to, r); r.Close() })
	return func() { w.Close(); reading.Wait() }, w, nil
}

// Open implements distro.Sandbox.
func (s *sandbox) Open(name string) (io.ReadCloser, error) {
	f, err := s.openInRoot(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s in the base: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadDir implements distro.Sandbox.
func (s *sandbox) ReadDir(name string) ([]string, error) {
	f, err := s.openInRoot(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// openInRoot resolves a name as a process inside would: links lead back into the root.
func (s *sandbox) openInRoot(name string, flags uint64) (*os.File, error) {
	dir, err := unix.Open(s.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open base: %w", err)
	}
	defer unix.Close(dir)
	fd, err := fstree.Openat2(dir, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "open in the base", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// tail keeps the last bytes written to it, for error messages.
type tail struct{ b []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	b := t.b[max(0, len(t.b)-tailSize):]
	return strings.TrimSpace(string(b))
}
