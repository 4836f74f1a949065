package backends

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info describes a backend of this host.
type Info struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"`
	Version   string   `json:"version,omitempty"`
	Path      string   `json:"path,omitempty"`
	Reason    string   `json:"reason,omitempty"` // why it is not available
	Features  []string `json:"features,omitempty"`
}

// OCIRuntimes are the runtimes that the backend "oci" chooses from, the preferred first.
func OCIRuntimes() []string { return []string{"crun", "youki", "runc"} }

// Detect tells what backends this host has. OCI runtimes are looked for in PATH, then in dirs, then where
// distributions put what is not for users; each that is found is asked for its version.
func Detect(ctx context.Context, dirs []string) []Info {
	infos := []Info{detectNamespace()}
	for _, name := range OCIRuntimes() {
		infos = append(infos, detectRuntime(ctx, name, dirs))
	}
	return infos
}

func detectNamespace() Info {
	info := Info{Name: "namespace", Available: true, Features: []string{"join", "seccomp", "terminal", "volatile"}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		info.Version = unix.ByteSliceToString(u.Release[:])
	}
	// The newest of the system calls it needs, with arguments that cannot succeed.
	if err := unix.MountSetattr(-1, "", 0, nil); err == unix.ENOSYS {
		info.Available, info.Reason = false, "the kernel is older than Linux 5.12"
	}
	return info
}

// FindRuntime returns an OCI runtime's program, "" when there is none.
func FindRuntime(name string, dirs []string) string {
	if path, err := exec.LookPath(name); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	for _, dir := range append(dirs[:len(dirs):len(dirs)], "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec", "/usr/lib/podman") {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}

func detectRuntime(ctx context.Context, name string, dirs []string) Info {
	info := Info{Name: name, Path: FindRuntime(name, dirs)}
	if info.Path == "" {
		info.Reason = "not installed"
		return info
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, info.Path, "--version").Output()
	if err != nil {
		info.Reason = fmt.Sprintf("%s --version: %v", info.Path, err)
		return info
	}
	info.Available, info.Version = true, version(out)
	for line := range strings.Lines(string(out)) {
		if features, ok := strings.CutPrefix(line, "+"); ok { // crun lists what it was built with
			info.Features = strings.Fields("+" + features)
		}
	}
	return info
}

// version is the last word of the first line, as in "crun version 1.8.1" and "youki version: 0.5.0".
func version(out []byte) string {
	line, _, _ := bytes.Cut(out, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) == 0 {
		return "unknown"
	}
	return string(f[len(f)-1])
}
