package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/oci"
	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// ErrUnfit says that a check failed that Karapace needs.
var ErrUnfit = &failure.Error{Kind: failure.Backend, Err: errors.New("this host lacks something that Karapace needs"), Hint: "see the lines marked FAIL"}

// Check is one thing doctor looked at.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // false: karapace works without it
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// BackendInfo is one backend of this host.
type BackendInfo struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Version   string `json:"version"`
	Path      string `json:"path"`
	Reason    string `json:"reason"`
}

// Doctor checks host and store. It changes nothing.
func (e *Engine) Doctor(ctx context.Context) []Check {
	checks := []Check{kernel(), e.userNamespaces(), e.subordinate(), overlay(), e.storeProgram(), e.storeCheck()}
	for _, b := range e.Backends(ctx) {
		c := Check{Name: "backend " + b.Name, OK: b.Available, Needed: b.Name == "namespace", Detail: strings.TrimSpace(b.Path + " " + b.Version)}
		if !b.Available {
			c.Detail = b.Reason
			if b.Path == "" {
				c.Fix = installHint(b.Name, osRelease())
			}
		}
		checks = append(checks, c)
	}
	return checks
}

func kernel() Check {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Check{Name: "kernel", Needed: true, Detail: err.Error()}
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor)
	return Check{Name: "kernel", Needed: true, OK: major > 5 || major == 5 && minor >= 12, Detail: release, Fix: "Linux 5.12 or newer is needed"}
}

// userNamespaces reads the switches that distributions put before user namespaces.
func (e *Engine) userNamespaces() Check {
	c := Check{Name: "user namespaces", Needed: e.User.UID != 0, OK: true, Detail: "allowed"}
	for _, s := range []struct{ file, bad, fix string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if b, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(b)) == s.bad {
			c.OK, c.Detail, c.Fix = false, s.file+" is "+s.bad, s.fix
		}
	}
	return c
}

func (e *Engine) subordinate() Check {
	c := Check{Name: "subordinate ids", OK: true, Needed: e.User.UID != 0, Detail: "not needed by root"}
	if e.User.UID == 0 {
		return c
	}
	m, err := userns.Lookup()
	if err != nil {
		var missing *userns.MissingError
		c.OK, c.Detail = false, err.Error()
		if errors.As(err, &missing) {
			c.Detail, c.Fix = missing.Problem, missing.Remedy
		}
		return c
	}
	c.Detail = fmt.Sprintf("%d ranges of uids, %d of gids", len(m.UID), len(m.GID))
	return c
}

func overlay() Check {
	b, err := os.ReadFile("/proc/filesystems")
	ok := err == nil && strings.Contains(string(b), "\toverlay\n")
	return Check{Name: "overlay", OK: ok, Needed: false, Detail: map[bool]string{true: "known to the kernel", false: "not loaded"}[ok], Fix: "sudo modprobe overlay"}
}

func (e *Engine) storeProgram() Check {
	_, err := os.Stat(e.StoreProgram)
	c := Check{Name: "karapace-store", OK: err == nil, Needed: true, Detail: e.StoreProgram}
	if err != nil {
		c.Fix = "install it beside karapace"
	}
	return c
}

func (e *Engine) storeCheck() Check {
	c := Check{Name: "store", OK: true, Needed: true, Detail: e.StoreRoot}
	_, err := storage.Open(e.StoreRoot)
	switch {
	case errors.Is(err, storage.ErrNoStore):
		c.Detail += " (not made yet)"
	case err != nil:
		c.OK, c.Detail = false, err.Error()
		_, c.Fix = failure.Of(storeFailure(err))
	}
	return c
}

// osRelease is the ID and ID_LIKE words of this host.
func osRelease() []string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil
	}
	var words []string
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		if k == "ID" || k == "ID_LIKE" {
			words = append(words, strings.Fields(strings.Trim(v, `"'`))...)
		}
	}
	return words
}

// installHint is the command that installs a runtime on this kind of host.
func installHint(runtime string, ids []string) string {
	for _, id := range ids {
		switch id {
		case "debian", "ubuntu":
			if runtime == "youki" {
				return "cargo install youki --locked"
			}
			return "sudo apt install " + runtime
		case "fedora", "rhel":
			return "sudo dnf install " + runtime
		case "suse", "opensuse":
			return "sudo zypper install " + runtime
		case "arch":
			return "sudo pacman -S " + runtime
		}
	}
	return "install " + runtime + " if you want it"
}

// Backends tells what can run environments here.
func (e *Engine) Backends(ctx context.Context) []BackendInfo {
	var out []BackendInfo
	for _, i := range backends.Detect(ctx, e.BackendDirs) {
		b := BackendInfo{Name: i.Name, Available: i.Available, Version: i.Version, Path: i.Path, Reason: i.Reason}
		var why *backends.Error
		if err := oci.Unusable(i.Name); b.Available && errors.As(err, &why) {
			b.Available, b.Reason = false, why.Err.Error()
		}
		out = append(out, b)
	}
	return out
}
