package doctor

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// manager is how a host's system gets a package.
type manager string

// The managers that are told apart. Those of immutable systems come with the family of the packages they install.
const (
	apt             manager = "apt"
	dnf             manager = "dnf"
	zypper          manager = "zypper"
	pacman          manager = "pacman"
	apk             manager = "apk"
	emerge          manager = "emerge"
	xbps            manager = "xbps"
	nix             manager = "nix"
	rpmOSTree       manager = "rpm-ostree"
	bootc           manager = "bootc"
	transactional   manager = "transactional-update"
	abroot          manager = "abroot"
	steamOS         manager = "steamos"
	unknownManager  manager = ""
	immutableDetail         = ", immutable"
)

// distribution is what os-release(5) and the programs of a host say about where its software comes from.
type distribution struct {
	name    string // for people
	manager manager
	systemd bool
}

func identify(h Host) distribution {
	fields := osRelease(h)
	ids := append([]string{fields["ID"]}, strings.Fields(fields["ID_LIKE"])...)
	d := distribution{name: cmp.Or(fields["PRETTY_NAME"], fields["NAME"], fields["ID"], "unknown")}
	_, err := h.Stat("/run/systemd/system")
	d.systemd = err == nil
	_, err = h.Stat("/run/ostree-booted")
	d.manager = choose(h, ids, err == nil)
	return d
}

// choose asks what is immutable first: such systems name the family they come from too, whose commands fail on them.
func choose(h Host, ids []string, ostree bool) manager {
	has := func(id string) bool { return slices.Contains(ids, id) }
	switch {
	case has("vanilla") || h.Program("abroot") != "":
		return abroot
	case has("steamos"):
		return steamOS
	case has("nixos"):
		return nix
	case ostree && h.Program("rpm-ostree") != "":
		return rpmOSTree
	case ostree:
		return bootc
	case h.Program("transactional-update") != "" && readOnlyUsr(h):
		return transactional
	}
	for _, id := range ids {
		if m := family(id); m != unknownManager {
			return m
		}
	}
	return unknownManager
}

func readOnlyUsr(h Host) bool {
	f, err := h.FileSystem("/usr")
	return err == nil && f.ReadOnly
}

func family(id string) manager {
	switch id {
	case "debian", "ubuntu":
		return apt
	case "fedora", "rhel", "centos":
		return dnf
	case "suse", "opensuse", "opensuse-tumbleweed", "opensuse-leap", "sles":
		return zypper
	case "arch":
		return pacman
	case "alpine":
		return apk
	case "gentoo":
		return emerge
	case "void":
		return xbps
	}
	return unknownManager
}

// osRelease reads os-release(5), of the first of its places.
func osRelease(h Host) map[string]string {
	fields := map[string]string{}
	text, err := h.ReadFile("/etc/os-release")
	if err != nil {
		text, _ = h.ReadFile("/usr/lib/os-release")
	}
	for line := range strings.Lines(string(text)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		fields[name] = strings.Trim(value, `'"`)
	}
	return fields
}

// names of what a host may need, where they are not everywhere the same.
func packageName(program string, m manager) string {
	switch m {
	case rpmOSTree, bootc:
		m = dnf
	case transactional:
		m = zypper
	case abroot:
		m = apt
	case steamOS:
		m = pacman
	}
	switch program {
	case "newuidmap", "newgidmap":
		if name := map[manager]string{apt: "uidmap", dnf: "shadow-utils", apk: "shadow-uidmap", emerge: "sys-apps/shadow"}[m]; name != "" {
			return name
		}
		return "shadow"
	case "youki":
		if m != pacman && m != nix {
			return "" // in no package of the distribution's
		}
	case "crun", "runc", "fuse-overlayfs":
		if m == emerge {
			return map[string]string{"crun": "app-containers/crun", "runc": "app-containers/runc", "fuse-overlayfs": "sys-fs/fuse-overlayfs"}[program]
		}
	}
	return program
}

// install is the command that brings a program onto the host.
func (d distribution) install(program string) string {
	name := packageName(program, d.manager)
	if name == "" {
		return "cargo install " + program + " --locked"
	}
	switch d.manager {
	case apt:
		return "sudo apt-get install " + name
	case dnf:
		return "sudo dnf install " + name
	case zypper:
		return "sudo zypper install " + name
	case pacman:
		return "sudo pacman -S " + name
	case apk:
		return "sudo apk add " + name
	case emerge:
		return "sudo emerge " + name
	case xbps:
		return "sudo xbps-install " + name
	case nix:
		return "add pkgs." + name + " to environment.systemPackages in /etc/nixos/configuration.nix, then: sudo nixos-rebuild switch"
	case rpmOSTree:
		return "sudo rpm-ostree install " + name + " && systemctl reboot"
	case bootc:
		return "add " + quote("RUN dnf -y install "+name) + " to the Containerfile of this system's image, rebuild and push that, then: sudo bootc upgrade --apply"
	case transactional:
		return "sudo transactional-update pkg install " + name + " && systemctl reboot"
	case abroot:
		return "sudo abroot pkg add " + name + " && sudo abroot pkg apply && systemctl reboot"
	case steamOS:
		return "sudo steamos-readonly disable && sudo pacman-key --init && sudo pacman-key --populate && sudo pacman -Sy " + name + " && sudo steamos-readonly enable"
	}
	return "install " + program + " with the package manager of this system"
}

// upgrade is the command that makes an installed program newer.
func (d distribution) upgrade(program string) string {
	name := packageName(program, d.manager)
	if name == "" {
		return "cargo install " + program + " --locked --force"
	}
	switch d.manager {
	case apt:
		return "sudo apt-get update && sudo apt-get install --only-upgrade " + name
	case dnf:
		return "sudo dnf upgrade --refresh " + name
	case zypper:
		return "sudo zypper update " + name
	case pacman:
		return "sudo pacman -Syu"
	case apk:
		return "sudo apk upgrade " + name
	case emerge:
		return "sudo emerge --update " + name
	case xbps:
		return "sudo xbps-install -Su " + name
	case nix:
		return "sudo nixos-rebuild switch --upgrade"
	case rpmOSTree:
		return "sudo rpm-ostree upgrade && systemctl reboot"
	case bootc:
		return "sudo bootc upgrade --apply"
	case transactional:
		return "sudo transactional-update dup && systemctl reboot"
	case abroot:
		return "sudo abroot upgrade && systemctl reboot"
	case steamOS:
		return "steamos-update"
	}
	return "upgrade " + program + " with the package manager of this system"
}

// reinstall is the command that brings back what is damaged of an installed program.
func (d distribution) reinstall(program string) string {
	name := packageName(program, d.manager)
	switch d.manager {
	case apt:
		return "sudo apt-get install --reinstall " + name
	case dnf:
		return "sudo dnf reinstall " + name
	case zypper:
		return "sudo zypper install --force " + name
	case pacman:
		return "sudo pacman -S " + name
	case apk:
		return "sudo apk fix " + name
	case emerge:
		return "sudo emerge " + name
	case xbps:
		return "sudo xbps-install -f " + name
	case nix:
		return "sudo nixos-rebuild switch"
	}
	return d.upgrade(program)
}

func (d distribution) immutable() bool {
	switch d.manager {
	case rpmOSTree, bootc, transactional, abroot, steamOS, nix:
		return true
	}
	return false
}

func (x *examination) distribution() Check {
	detail := x.distro.name
	if x.distro.manager != unknownManager {
		detail += " (" + string(x.distro.manager)
		if x.distro.immutable() {
			detail += immutableDetail
		}
		detail += ")"
	}
	return ok("distribution", detail)
}
