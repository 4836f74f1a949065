package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/namespace"
	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/doctor"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/probe"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
)

// host is this machine for doctor.
type host struct{ *Engine }

const hostFileLimit = 1 << 20 // bytes

func (*host) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, hostFileLimit))
}

func (*host) Stat(path string) (doctor.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return doctor.File{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return doctor.File{}, err
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return doctor.File{Mode: info.Mode(), UID: st.Uid, GID: st.Gid, Capabilities: err == nil && n > 0, ModTime: info.ModTime()}, nil
}

func (*host) FileSystem(path string) (doctor.FileSystem, error) {
	path, err := nearest(path)
	if err != nil {
		return doctor.FileSystem{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return doctor.FileSystem{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := uint64(st.Bsize)
	return doctor.FileSystem{
		Type: fileSystemType(path, int64(st.Type)), Free: st.Bavail * size, Total: st.Blocks * size, FreeInodes: st.Ffree, Inodes: st.Files,
		ReadOnly: st.Flags&unix.ST_RDONLY != 0, NoSUID: st.Flags&unix.ST_NOSUID != 0,
	}, nil
}

// nearest is path, or the directory above it that is there.
func nearest(path string) (string, error) {
	for {
		_, err := os.Stat(path)
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return path, err
		}
		path = filepath.Dir(path)
	}
}

// fileSystemType is the name that the mount of a path has in mountinfo, or else the number of its kind.
func fileSystemType(path string, magic int64) string {
	unknown := fmt.Sprintf("%#x", magic)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return unknown
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return unknown
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		id, _, _ := strings.Cut(sc.Text(), " ")
		_, after, found := strings.Cut(sc.Text(), " - ")
		if found && id == strconv.FormatUint(st.Mnt_id, 10) {
			name, _, _ := strings.Cut(after, " ")
			name, _, _ = strings.Cut(name, ".") // fuse.NAME
			return name
		}
	}
	return unknown
}

func (h *host) Program(name string) string {
	for _, dir := range append(filepath.SplitList(h.Getenv("PATH")), "/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}

func (h *host) Try(ctx context.Context, what doctor.Attempt) error {
	switch what {
	case doctor.OpenFuse:
		f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err == nil {
			err = f.Close()
		}
		return err
	case doctor.Container:
		bare := func(dir string) backends.Rootfs { return backends.Rootfs{Dir: filepath.Join(dir, "lower")} }
		err := h.tryIn(ctx, func() (string, func(), error) { return tempDir(os.TempDir()) }, bare)
		if failure.Disk(err) != nil { // environments do without it
			err = h.tryIn(ctx, h.besideStore, bare)
		}
		return err
	case doctor.Overlay:
		return h.tryIn(ctx, h.besideStore, func(dir string) backends.Rootfs {
			return backends.Rootfs{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
		})
	}
	return fmt.Errorf("%s is nothing to try", what)
}

// tryIn is tryContainer in a directory of its own.
func (h *host) tryIn(ctx context.Context, place func() (string, func(), error), root func(dir string) backends.Rootfs) error {
	dir, done, err := place()
	if err != nil {
		return err
	}
	defer done()
	return h.tryContainer(ctx, dir, root)
}

// besideStore makes a directory on the file system of the store: in it if there is one, where the next command that works on
// layers removes what is left when this program is killed.
func (h *host) besideStore() (dir string, done func(), err error) {
	s, err := storage.Open(h.StoreRoot)
	if err != nil {
		if dir, err = nearest(h.StoreRoot); err != nil {
			return "", nil, err
		}
		return tempDir(dir)
	}
	scratch, err := s.Scratch("doctor")
	if err != nil {
		return "", nil, err
	}
	return scratch.Dir, func() {
		os.RemoveAll(scratch.Dir)
		scratch.Release()
	}, nil
}

func tempDir(parent string) (dir string, done func(), err error) {
	dir, err = os.MkdirTemp(parent, ".karapace-doctor-")
	return dir, func() { os.RemoveAll(dir) }, err
}

// tryContainer starts a container that holds nothing but a probe, in a directory that is empty.
func (h *host) tryContainer(ctx context.Context, dir string, root func(dir string) backends.Rootfs) error {
	mapping, err := h.mapping()
	if err != nil {
		return err
	}
	for _, d := range []string{"lower/dev", "lower/proc", "lower/sys", "lower/run", "upper", "work", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := bundle.Create(filepath.Join(dir, "bundle")); err != nil {
		return err
	}
	session := ocispec.Session{
		Hostname: "doctor", Edits: ocispec.Edits{Mounts: h.probeMounts("")},
		Process: ocispec.Process{Args: []string{probe.Path, probe.Time}, Cwd: "/", UID: uint32(h.User.UID), GID: uint32(h.User.GID)},
	}
	exit, err := namespace.New().Run(ctx, &backends.Container{
		ID: strings.TrimPrefix(filepath.Base(dir), "."), Bundle: filepath.Join(dir, "bundle"), State: filepath.Join(dir, "state"), Spec: ocispec.Runtime(session), Rootfs: root(dir), Mapping: mapping,
	}, backends.Stdio{})
	if goneErr := h.gone(context.WithoutCancel(ctx), filepath.Join(dir, "state")); err == nil {
		err = goneErr
	}
	if err == nil && exit.ShellCode() != 0 {
		err = fmt.Errorf("a process in it ended with %d", exit.ShellCode())
	}
	return err
}
