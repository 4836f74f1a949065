package integration

import (
	"path"
	"strings"
)

// nvidia brings the nodes of NVIDIA's driver and its libraries, which must be the running kernel module's own: those that a
// specification of the host's names, or else those that are where distributions put them.
type nvidia struct{}

func (nvidia) Name() string { return "gpu" }

const (
	driverLibraries = "/run/host/nvidia"
	driverFiles     = "/run/host/nvidia/files"
)

func (nvidia) Edits(h Host) Edits {
	if e, ok := cdi(h); ok {
		return e
	}
	e := nodes(h, "nvidia")
	if len(e.Mounts) == 0 {
		return e
	}
	for _, p := range []string{"/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"} {
		if isCharDevice(h, p) {
			e.device(p)
		}
	}
	if isDir(h, "/dev/nvidia-caps") {
		e.device("/dev/nvidia-caps")
	}
	for _, dir := range []string{"/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"} {
		if libraries := driverIn(h, dir); len(libraries) > 0 {
			for _, name := range libraries {
				e.mount(path.Join(dir, name), path.Join(driverLibraries, name), true)
			}
			e.set("LD_LIBRARY_PATH", driverLibraries)
			break
		}
	}
	return e
}

// driverIn lists the driver's libraries of one directory, by their sonames and the real files that these lead to.
func driverIn(h Host, dir string) []string {
	names, _ := h.List(dir)
	var found []string
	for _, name := range names {
		if !strings.Contains(name, ".so.") {
			continue
		}
		for _, prefix := range []string{"libnvidia-", "libcuda.", "libGLX_nvidia.", "libEGL_nvidia.", "libGLESv1_CM_nvidia.", "libGLESv2_nvidia.", "libnvcuvid."} {
			if strings.HasPrefix(name, prefix) && isFile(h, path.Join(dir, name)) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}
