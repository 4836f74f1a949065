package builder

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOverlay mounts for a build: nothing in it needs to survive a crash. The kernel's overlay is many times faster;
// fuse-overlayfs is for hosts on which that cannot be mounted here, and for comparing.
func (w *worker) mountOverlay(target, lower, upper, work string) (fuse bool, err error) {
	if strings.ContainsAny(strings.ReplaceAll(lower, ":", "")+upper+work, ",:\\") {
		return false, fmt.Errorf("mount overlay: the store's path %s may not hold a comma, colon or backslash", filepath.Dir(upper))
	}
	dirs := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if w.overlay != "fuse" {
		mode := "redirect_dir=off,metacopy=off,index=off,xino=off"
		if w.rootless {
			mode = "index=off,userxattr"
		}
		err := unix.Mount("overlay", target, "overlay", 0, dirs+",volatile,"+mode)
		if err == nil {
			return false, nil
		}
		if w.overlay == "kernel" || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			return false, fmt.Errorf("mount overlay on %s: %w", target, err)
		}
	}
	program, err := exec.LookPath("fuse-overlayfs")
	if err != nil {
		return true, errors.New("mount overlay: the kernel cannot do it here, and fuse-overlayfs is not installed")
	}
	if out, err := exec.Command(program, "-o", dirs, target).CombinedOutput(); err != nil {
		return true, fmt.Errorf("mount overlay with fuse-overlayfs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return true, nil
}
