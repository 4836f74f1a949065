package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The oldest kernel that has every system call the built-in backend makes (mount_setattr(2)).
const (
	kernelMajor = 5
	kernelMinor = 12
)

func (x *examination) kernel() Check {
	release := x.text("/proc/sys/kernel/osrelease")
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return warning("kernel", "version unknown", "Karapace needs Linux 5.12 or newer, and /proc does not tell what this is", "mount -t proc proc /proc")
	}
	if major > kernelMajor || major == kernelMajor && minor >= kernelMinor {
		return ok("kernel", release)
	}
	return problem("kernel", release, "Karapace needs Linux 5.12 or newer: environments are mounted by system calls that older ones do not have", x.distro.upgradeKernel())
}

func (d distribution) upgradeKernel() string {
	switch d.manager {
	case apt:
		return "sudo apt-get update && sudo apt-get dist-upgrade"
	case dnf:
		return "sudo dnf upgrade --refresh kernel"
	case zypper:
		return "sudo zypper dist-upgrade"
	case apk:
		return "sudo apk upgrade --available"
	case emerge:
		return "sudo emerge --update sys-kernel/gentoo-kernel-bin"
	case xbps:
		return "sudo xbps-install -Su"
	}
	return d.upgrade("the kernel")
}

func (x *examination) seccomp() Check {
	const name = "seccomp"
	actions := strings.Fields(x.text("/proc/sys/kernel/seccomp/actions_avail"))
	if slices.Contains(actions, "errno") {
		return ok(name, "filters are there")
	}
	if strings.Contains(x.text("/proc/self/status"), "Seccomp:") {
		return ok(name, "there, actions unknown")
	}
	return problem(name, "the kernel has no filters", "every session gets a filter of system calls, and cannot start without",
		"use a kernel built with CONFIG_SECCOMP_FILTER, as the distribution's own is")
}

// namespaceLimits reads the switches that distributions put before user namespaces.
func (x *examination) namespaceLimits() Check {
	const name = "user namespaces"
	const meaning = "a user's environments live in a user namespace; without one only root can build or enter any"
	if x.root() {
		return ok(name, "not needed by root")
	}
	for _, s := range []struct{ file, parameter, bad, good string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone", "0", "1"},
		{"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", "0", "15000"},
	} {
		if x.text(s.file) == s.bad {
			return problem(name, s.parameter+" is "+s.bad, meaning, sysctl(s.parameter, s.good))
		}
	}
	if !x.exists("/proc/self/ns/user") {
		return problem(name, "the kernel has none", meaning, "use a kernel built with CONFIG_USER_NS, as the distribution's own is")
	}
	limit := x.text("/proc/sys/user/max_user_namespaces")
	if n, err := strconv.Atoi(limit); err == nil && n < 64 {
		return warning(name, "user.max_user_namespaces is "+limit, "every running environment needs one, and others use them too", sysctl("user.max_user_namespaces", "15000"))
	}
	return ok(name, "allowed")
}

// appArmor is about the restriction that Ubuntu has since 23.10: a namespace may be made, and gives no capabilities in it.
func (x *examination) appArmor(ctx context.Context) Check {
	const name = "AppArmor"
	const parameter = "kernel.apparmor_restrict_unprivileged_userns"
	switch {
	case x.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != "1":
		return ok(name, "does not restrict user namespaces")
	case x.root():
		return ok(name, "restricts user namespaces, but not root's")
	case x.Try(ctx, Container) == nil:
		return ok(name, "restricts user namespaces, and lets karapace have them")
	}
	meaning := "user namespaces are without capabilities for programs that no profile of AppArmor allows them: nothing can be mounted in them"
	if x.exists(profilePath) {
		return problem(name, parameter+" is 1, and "+profilePath+" does not help", meaning, "sudo apparmor_parser -r "+profilePath)
	}
	return problem(name, parameter+" is 1", meaning, x.profile())
}

const profilePath = "/etc/apparmor.d/karapace"

// profile is the command that allows Karapace's programs, where they are installed, user namespaces.
func (x *examination) profile() string {
	attachment := "{" + strings.Join(x.Programs, ",") + "}"
	lines := []string{
		"abi <abi/4.0>,", "include <tunables/global>",
		`profile karapace "` + attachment + `" flags=(unconfined) {`, "  userns,", "  include if exists <local/karapace>", "}",
	}
	for i, l := range lines {
		lines[i] = "'" + strings.ReplaceAll(l, "'", `'\''`) + "'"
	}
	return `printf '%s\n' ` + strings.Join(lines, " ") + " | sudo tee " + profilePath + " >/dev/null && sudo apparmor_parser -r " + profilePath
}

// container tries the whole: namespaces, id mapping, mounts, a process.
func (x *examination) container(ctx context.Context) Check {
	const name = "container"
	if err := x.Try(ctx, Container); err != nil {
		return problem(name, err.Error(), "a container could not be started: neither can environments", "mend the checks above; if all of them are ok, karapace has an error worth reporting")
	}
	return ok(name, "one was started and has ended")
}

func (x *examination) overlay(ctx context.Context) Check {
	const name = "overlay"
	err := x.Try(ctx, Overlay)
	if err == nil {
		return ok(name, "mounted on the file system of the store")
	}
	fix := "name a directory on a local file system as the store: karapace --store DIRECTORY ..., or KARAPACE_STORE"
	if !strings.Contains(x.text("/proc/filesystems"), "\toverlay") && !x.exists("/sys/module/overlay") {
		fix = "sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/overlay.conf"
	}
	if x.Try(ctx, Container) != nil {
		fix = "mend the checks above first: no container starts at all"
	}
	return problem(name, err.Error(), "an environment is an overlay of its layers and of what is written to it", fix)
}

// fuse matters only where the kernel's overlay cannot be mounted, and where somebody asks for it.
func (x *examination) fuse(ctx context.Context) Check {
	const name = "fuse-overlayfs"
	path := x.Program("fuse-overlayfs")
	err := x.Try(ctx, OpenFuse)
	switch {
	case path != "" && err == nil:
		return ok(name, path)
	case x.Try(ctx, Overlay) == nil:
		return ok(name, "not needed: the kernel's overlay can be mounted")
	case err != nil:
		return warning(name, err.Error(), "builds fall back on fuse-overlayfs where the kernel's overlay cannot be mounted, and that needs /dev/fuse",
			"sudo modprobe fuse && sudo chmod 666 /dev/fuse")
	}
	return warning(name, "not installed", "builds fall back on it where the kernel's overlay cannot be mounted", x.distro.install("fuse-overlayfs"))
}

func (x *examination) seLinux() Check {
	const name = "SELinux"
	switch x.text("/sys/fs/selinux/enforce") {
	case "0":
		return ok(name, "permissive")
	case "1":
	default:
		return ok(name, "not there")
	}
	label := strings.TrimRight(x.text("/proc/self/attr/current"), "\x00")
	domain := strings.Split(label, ":")
	if len(domain) >= 3 && (domain[2] == "unconfined_t" || domain[2] == "unconfined_service_t") {
		return ok(name, "enforcing, and this process is unconfined")
	}
	return warning(name, "enforcing, and this process is "+label, "a confined user may not mount or make namespaces, whatever the other checks say",
		"sudo ausearch -m avc -ts recent shows what was refused; sudo semanage login -a -s unconfined_u "+quote(x.User)+" lifts it")
}

// keyring is about the quota that runtimes take a key ring of for every container.
func (x *examination) keyring() Check {
	const name = "keyring"
	text := x.text("/proc/key-users")
	if text == "" {
		return ok(name, "the kernel has none, and none is needed")
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // UID: USAGE KEYS/INSTANTIATED QUOTA-KEYS/MAX QUOTA-BYTES/MAX
		if len(f) < 5 || f[0] != strconv.Itoa(x.UID)+":" {
			continue
		}
		used, most, _ := strings.Cut(f[3], "/")
		n, err := strconv.ParseUint(used, 10, 32)
		limit, err2 := strconv.ParseUint(most, 10, 32)
		if err == nil && err2 == nil && n*5 > limit*4 {
			return warning(name, fmt.Sprintf("%d of %d keys are used", n, limit), "crun and runc take one for every container and fail without", sysctl("kernel.keys.maxkeys", strconv.FormatUint(max(2000, 4*limit), 10)))
		}
		return ok(name, fmt.Sprintf("%d of %d keys are used", n, limit))
	}
	return ok(name, "no key is used")
}

// programs are Karapace's own.
func (x *examination) programs() Check {
	for _, p := range x.Programs {
		if !x.exists(p) {
			return problem(filepath.Base(p), p+" is missing", "it does all work on layers: nothing can be built", "install it beside karapace, from the same release")
		}
	}
	return ok(filepath.Base(x.Programs[len(x.Programs)-1]), x.Programs[len(x.Programs)-1])
}
