package doctor

import (
	"fmt"
	"slices"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// layout is "v2", "hybrid", "v1" or "".
func (x *examination) layout() string {
	switch {
	case x.exists(cgroupRoot + "/cgroup.controllers"):
		return "v2"
	case x.exists(cgroupRoot + "/unified/cgroup.controllers"):
		return "hybrid"
	case x.exists(cgroupRoot + "/memory"), x.exists(cgroupRoot + "/cpu"), x.exists(cgroupRoot + "/pids"):
		return "v1"
	}
	return ""
}

func (x *examination) cgroups() Check {
	const name = "cgroups"
	layout := x.layout()
	meaning := "a user cannot limit memory or processor time of an environment, and youki does not run: only version 2 can be given to users"
	if x.root() {
		meaning = "old versions of crun do not run as root in any layout but version 2 alone"
	}
	switch layout {
	case "v2":
		return ok(name, "version 2")
	case "":
		return warning(name, "none is mounted on "+cgroupRoot, "limits of memory and processor time cannot be enforced", "sudo mount -t cgroup2 cgroup2 "+cgroupRoot)
	}
	detail := map[string]string{"hybrid": "version 1 and 2 (hybrid)", "v1": "version 1"}[layout]
	return warning(name, detail, meaning, x.distro.unify())
}

// unify is the command that makes version 2 the only one from the next start on.
func (d distribution) unify() string {
	const argument = "systemd.unified_cgroup_hierarchy=1"
	if !d.systemd {
		if d.manager == apk {
			return "sudo sed -i 's/^#*rc_cgroup_mode=.*/rc_cgroup_mode=\"unified\"/' /etc/rc.conf && sudo reboot"
		}
		return "mount cgroup2 alone at start, in place of version 1"
	}
	switch d.manager {
	case rpmOSTree:
		return "sudo rpm-ostree kargs --append-if-missing=" + argument + " && systemctl reboot"
	case dnf:
		return "sudo grubby --update-kernel=ALL --args=" + argument + " && systemctl reboot"
	}
	return "add " + argument + " to the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update the boot loader) and reboot"
}

// delegation is about the controllers that a user's own part of the hierarchy has.
func (x *examination) delegation() Check {
	const name = "cgroup delegation"
	const meaning = "limits of memory and processor time in a manifest cannot be enforced for this user, and are refused"
	if x.root() {
		return ok(name, "not needed by root")
	}
	if x.layout() != "v2" {
		return warning(name, "there is none without cgroup version 2", meaning, "see the check cgroups")
	}
	service := fmt.Sprintf("%s/user.slice/user-%d.slice/user@%[2]d.service", cgroupRoot, x.UID)
	controllers := strings.Fields(x.text(service + "/cgroup.controllers"))
	var missing []string
	for _, c := range []string{"cpu", "memory"} {
		if !slices.Contains(controllers, c) {
			missing = append(missing, c)
		}
	}
	switch {
	case len(missing) == 0 && x.ownCgroup(service):
		return ok(name, strings.Join(controllers, " "))
	case len(missing) == 0 && x.exists(fmt.Sprintf("/run/user/%d/bus", x.UID)):
		return ok(name, strings.Join(controllers, " ")+", in a scope that the user's systemd gives")
	case len(missing) == 0:
		return warning(name, "this process is not in the user's part of the hierarchy", meaning, "systemd-run --user --scope karapace ..., or log in with a session of systemd's")
	case !x.distro.systemd:
		return warning(name, "this host has no systemd to delegate", meaning, "run as root what needs limits, or give a directory of "+cgroupRoot+" with all its files to the user and start karapace in it")
	case !x.exists(service):
		return warning(name, "there is no user@"+fmt.Sprint(x.UID)+".service", meaning, "sudo loginctl enable-linger "+quote(x.User)+", and log in by a way that starts a session (machinectl shell "+quote(x.User)+"@, ssh)")
	}
	return warning(name, "without "+strings.Join(missing, " and "), meaning,
		`sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log out and in again`)
}

// ownCgroup tells whether this process is in a group below dir.
func (x *examination) ownCgroup(dir string) bool {
	for line := range strings.Lines(x.text("/proc/self/cgroup")) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return strings.HasPrefix(cgroupRoot+path+"/", dir+"/")
		}
	}
	return false
}
