package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cstorage "github.com/containers/storage"
	_ "github.com/containers/storage/drivers/overlay" // the one driver
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

const driverName = "overlay"

// checkPlace makes sure that this process may open containers/storage at all.
func checkPlace(rootless bool) error {
	if os.Geteuid() != 0 {
		return errors.New("this process is not root in a user namespace")
	}
	if !rootless {
		return nil
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	if slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"}) {
		return errors.New("this process is not in the user namespace of the store's owner")
	}
	return nil
}

// checkPoison finds out whether containers/storage was once opened where it could not mount an overlay: from then on it
// takes fuse-overlayfs, which is several times slower. Where the kernel's overlay cannot be had, that is as it must be.
func (s *Store) checkPoison() error {
	taken, err := s.mountProgram()
	if err != nil {
		return &storage.Error{Path: s.root, Msg: err.Error()}
	}
	if !taken || s.kernelOverlay() != nil {
		return nil
	}
	return &storage.Error{Path: s.root,
		Msg:  "containers/storage in it was opened by another program outside the user namespace, and would use fuse-overlayfs from now on",
		Hint: "rm " + s.mountProgramFlag()}
}

// mountProgram tells whether containers/storage has taken fuse-overlayfs, and will again.
func (s *Store) mountProgram() (bool, error) {
	b, err := readSmall(s.mountProgramFlag(), 256)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(b)) == "true", err
}

func (s *Store) mountProgramFlag() string {
	return filepath.Join(s.graphRoot(), driverName, ".has-mount-program")
}

// kernelOverlay gives an error when the kernel does not mount an overlay on the store's file system.
func (s *Store) kernelOverlay() error {
	root, err := s.mountable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(root, "probe-")
	if err != nil {
		return err
	}
	defer fstree.RemoveAll(dir)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	merged := filepath.Join(dir, "merged")
	err = unix.Mount("overlay", merged, "overlay", 0, data+",userxattr")
	if err != nil {
		err = unix.Mount("overlay", merged, "overlay", 0, data)
	}
	if err != nil {
		return &fs.PathError{Op: "mount", Path: merged, Err: err}
	}
	return unix.Unmount(merged, unix.MNT_DETACH)
}

// cannotMount tells whether an error of kernelOverlay is for good, and not that something failed this once.
func cannotMount(err error) bool {
	var mount *fs.PathError
	return errors.As(err, &mount) && mount.Op == "mount" &&
		slices.Contains([]error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENODEV, unix.ENOSYS, unix.EOPNOTSUPP}, mount.Err)
}

// mountable gives dir a name for as long as the process lives that can stand in the options of an overlay. containers/storage writes its paths
// there as they are, four of them, and with a colon in one or not enough room finds that the kernel cannot mount any.
func mountable(dir string) (string, error) {
	if len(dir) < 512 && !strings.ContainsAny(dir, `:,\`) {
		return dir, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// openContainers opens containers/storage with options that depend on nothing of the host. It reads its configuration
// files and variables whatever options it is given, so those are pointed to nothing in this process.
func (s *Store) openContainers(rootless bool) (cstorage.Store, error) {
	for _, name := range []string{"STORAGE_OPTS", "_CONTAINERS_ROOTLESS_UID", "_CONTAINERS_ROOTLESS_GID", "_CONTAINERS_USERNS_CONFIGURED"} {
		os.Unsetenv(name)
	}
	env := map[string]string{"CONTAINERS_STORAGE_CONF": os.DevNull, "STORAGE_DRIVER": driverName}
	if rootless {
		env["_CONTAINERS_USERNS_CONFIGURED"] = "done"
	}
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	if err := freshRun(s.graphRoot(), filepath.Join(s.graphRoot(), "run"), s.Waiting); err != nil {
		return nil, err
	}
	graphRoot, err := s.mountable()
	if err != nil {
		return nil, err
	}
	return s.openWithKernel(cstorage.StoreOptions{
		GraphRoot:          graphRoot,
		RunRoot:            filepath.Join(graphRoot, "run"),
		GraphDriverName:    driverName,
		GraphDriverOptions: []string{"overlay.skip_mount_home=true"},
		DisableVolatile:    true,
	})
}

// openWithKernel opens containers/storage such that it finds fuse-overlayfs only where the kernel's overlay cannot be had. It would take
// that, for ever after, when anything fails while it tries the kernel. Nothing else is started meanwhile.
func (s *Store) openWithKernel(options cstorage.StoreOptions) (cstorage.Store, error) {
	switch taken, err := s.mountProgram(); {
	case err != nil:
		return nil, err
	case taken: // where the kernel has none
		return cstorage.GetStore(options)
	}
	path := os.Getenv("PATH")
	if err := os.Setenv("PATH", ""); err != nil {
		return nil, err
	}
	c, err := cstorage.GetStore(options)
	if err := os.Setenv("PATH", path); err != nil {
		return nil, err
	}
	if err == nil || !cannotMount(s.kernelOverlay()) {
		return c, err
	}
	return cstorage.GetStore(options)
}

// readableMounts tells whether containers/storage can read its list of mounts, of which there are none here.
func readableMounts(run string) bool {
	b, err := readSmall(filepath.Join(run, driverName+"-layers", "mountpoints.json"), indexLimit)
	var mounts []json.RawMessage
	return errors.Is(err, fs.ErrNotExist) || err == nil && (len(b) == 0 || json.Unmarshal(b, &mounts) == nil)
}

// freshRun empties the run root at the first use after a boot, or when it is damaged: containers/storage expects it in memory, and keeps there
// what the kernel could do when it last asked. That it could not mount an overlay is asked again: anything may have failed then.
func freshRun(graphRoot, run string, waiting storage.Waiting) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	lock, err := storage.WaitLock(context.Background(), graphRoot+"/.", waiting) // for a moment, and nobody's to interrupt
	if err != nil {
		return err
	}
	defer lock.Unlock()
	marker := filepath.Join(run, "boot-id")
	if b, err := readSmall(marker, 256); err == nil && string(b) == string(boot) && readableMounts(run) {
		if err := os.Remove(filepath.Join(run, driverName, driverName+"-false")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := fstree.RemoveAll(run); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	return storage.WriteFile(marker, boot, 0o600)
}
