package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
)

// What this package puts into the container's directories.
const (
	configName = "config.json" // in Bundle
	stateName  = "runtime"     // in State: where the file system with the runtime's own state is mounted
	logName    = "runtime.log" // in State
)

func (c *container) writeFiles() error {
	spec := c.config()
	if c.name == "youki" {
		dir := ""
		if !c.initial {
			var err error
			if dir, err = delegated(); err != nil {
				return err
			}
		}
		// another name each time: the youki of before may still be removing its group, and either finds that busy
		spec.Linux.CgroupsPath = dir + "/karapace-" + c.plan.ID + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("write %s: %w", configName, err)
	}
	if err := os.Mkdir(filepath.Join(c.plan.State, stateName), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the runtime's state: %w", err)
	}
	return writeFile(filepath.Join(c.plan.Bundle, configName), text)
}

// config is the document the runtime gets: the spec, but for its process and what its user namespace may not mount. The
// process is the container's first one, with nothing that a command has.
func (c *container) config() *rspec.Spec {
	spec, linux := *c.plan.Spec, *c.plan.Spec.Linux
	spec.Linux, spec.Annotations = &linux, nil // what sessions are to have
	linux.Seccomp, linux.Resources = nil, nil  // the limits are put into force for all backends alike
	spec.Root = &rspec.Root{Path: "rootfs", Readonly: spec.Root.Readonly || c.plan.Rootfs.Dir == "" && c.plan.Rootfs.Upper == ""}
	spec.Process = &rspec.Process{
		Args: []string{"/proc/self/fd/" + strconv.Itoa(initFD)}, Cwd: "/", NoNewPrivileges: true, Capabilities: new(rspec.LinuxCapabilities),
		// Without PATH youki refuses to start anything. Without HOME it asks the name service, which loads the container's own libraries into
		// it while it still has all its rights.
		Env: []string{"PATH=/bin", "HOME=/"},
	}
	spec.Mounts = nil
	for i, m := range c.plan.Spec.Mounts {
		m = c.mount(m)
		if pinned, ok := c.pinned[i]; ok {
			m.Source = pinned.path
		}
		spec.Mounts = append(spec.Mounts, m)
	}
	return &spec
}

func (c *container) mount(m rspec.Mount) rspec.Mount {
	host := ""
	switch {
	case m.Type == "cgroup" || m.Type == "cgroup2":
		host = "/sys/fs/cgroup"
	case m.Type == "sysfs" && !c.initial && c.plan.Flags&unix.CLONE_NEWNET == 0:
		host = "/sys"
	}
	if host != "" {
		return rspec.Mount{Destination: m.Destination, Type: "bind", Source: host, Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
	}
	if m.Type == "" && (slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")) {
		m.Type = "bind"
	}
	return m
}

// Unusable says why a runtime that is installed cannot run environments of this user here; nil when it can.
func Unusable(name string) error {
	if name != "youki" || unix.Geteuid() == 0 {
		return nil
	}
	_, err := delegated()
	return err
}

// delegated is the caller's own cgroup, where it may make others: what youki cannot do without.
func delegated() (string, error) {
	missing := &backends.Error{
		Kind: backends.Prerequisite, Op: "start the environment with youki",
		Err:  errors.New("youki needs a cgroup that this user may write to, and the host has given it none"),
		Hint: "use a host with cgroup v2 and a systemd user session, or another backend",
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", missing
	}
	for line := range strings.Lines(string(text)) {
		dir, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if unified && unix.Access("/sys/fs/cgroup"+dir+"/cgroup.procs", unix.W_OK) == nil {
			return dir, nil
		}
	}
	return "", missing
}

// writeFile writes a file that is worthless after a crash, so that it need not be durable.
func writeFile(path string, text []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// clean removes what this package has put into the directories of a container that does not run.
func clean(c *backends.Container) error {
	for _, path := range []string{filepath.Join(c.Bundle, configName), filepath.Join(c.State, stateName), filepath.Join(c.State, logName)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &backends.Error{Op: "remove the runtime's files", Err: err}
		}
	}
	return nil
}
