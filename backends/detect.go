package backends

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	rfeatures "github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Info describes a backend of this host.
type Info struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"`
	Version   string   `json:"version,omitempty"`
	Path      string   `json:"path,omitempty"`
	Reason    string   `json:"reason,omitempty"`   // why it is not available
	Features  []string `json:"features,omitempty"` // what it was built with, in small letters
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
	out, err := ask(ctx, info.Path, "--version")
	if err != nil {
		info.Reason = fmt.Sprintf("%s --version: %v", info.Path, err)
		return info
	}
	info.Available, info.Version = true, version(out)
	info.Features = built(out)
	if len(info.Features) == 0 {
		info.Features = features(ctx, info.Path)
	}
	return info
}

// ask runs a runtime in the environment that it has when it makes containers, in which nothing is the user's.
func ask(ctx context.Context, path, what string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, what)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd.Output()
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

// built reads the line of --version in which crun lists what it was built with: "+SYSTEMD +SECCOMP -CRIU".
func built(out []byte) []string {
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "+") {
			var names []string
			for word := range strings.FieldsSeq(line) {
				if name, with := strings.CutPrefix(word, "+"); with {
					names = append(names, strings.ToLower(name))
				}
			}
			return names
		}
	}
	return nil
}

const featuresLimit = 1 << 20 // bytes

// features asks a runtime for its features document (features.md of the runtime specification), which not all have.
func features(ctx context.Context, path string) []string {
	out, err := ask(ctx, path, "features")
	var doc rfeatures.Features
	if err != nil || len(out) > featuresLimit || json.Unmarshal(out, &doc) != nil || doc.Linux == nil {
		return nil
	}
	return summary(doc.Linux)
}

func summary(l *rfeatures.Linux) []string {
	is := func(b *bool) bool { return b != nil && *b }
	var names []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"cgroup1", l.Cgroup != nil && is(l.Cgroup.V1)}, {"cgroup2", l.Cgroup != nil && is(l.Cgroup.V2)},
		{"systemd", l.Cgroup != nil && is(l.Cgroup.Systemd)}, {"seccomp", l.Seccomp != nil && is(l.Seccomp.Enabled)},
		{"apparmor", l.Apparmor != nil && is(l.Apparmor.Enabled)}, {"selinux", l.Selinux != nil && is(l.Selinux.Enabled)},
		{"idmap", l.MountExtensions != nil && l.MountExtensions.IDMap != nil && is(l.MountExtensions.IDMap.Enabled)},
	} {
		if f.has {
			names = append(names, f.name)
		}
	}
	return names
}
