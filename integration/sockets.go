package integration

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Sockets of the host are bound one by one, never the directory they lie in: whatever else listens there stays outside.

const x11Sockets = "/tmp/.X11-unix"

// runtimeDir is the user's runtime directory inside (XDG Base Directory Specification).
func runtimeDir(h Host) string { return "/run/user/" + strconv.Itoa(h.UID) }

// hostRuntime is the user's runtime directory on the host, or one that cannot be.
func hostRuntime(h Host) string {
	if dir := h.Getenv("XDG_RUNTIME_DIR"); path.IsAbs(dir) {
		return dir
	}
	return runtimeDir(h)
}

// socket adds a socket of the host, where it is one.
func (e *Edits) socket(h Host, source, target string) bool {
	if !path.IsAbs(source) || !has(h, source, fs.ModeSocket) {
		return false
	}
	e.mount(source, target, false)
	return true
}

type wayland struct{}

func (wayland) Name() string { return "wayland" }

func (wayland) Edits(h Host) Edits {
	var e Edits
	display := h.Getenv("WAYLAND_DISPLAY")
	if display == "" {
		return e
	}
	source := display
	if !path.IsAbs(source) {
		source = path.Join(hostRuntime(h), display)
	}
	if name := path.Base(source); e.socket(h, source, path.Join(runtimeDir(h), name)) {
		e.set("WAYLAND_DISPLAY", name)
		e.Env = append(e.Env, pass(h, "XDG_SESSION_TYPE").Env...)
	}
	return e
}

// x11 brings the socket of the one display that DISPLAY names, and the key to it. A display of another machine is reached
// over the network, where that is shared.
type x11 struct{ network bool }

func (x11) Name() string { return "x11" }

func (p x11) Edits(h Host) Edits {
	var e Edits
	display := h.Getenv("DISPLAY")
	host, rest, ok := strings.Cut(display, ":")
	number, _, _ := strings.Cut(rest, ".")
	if _, err := strconv.ParseUint(number, 10, 16); !ok || err != nil {
		return e
	}
	socket := path.Join(x11Sockets, "X"+number)
	local := (host == "" || host == "unix") && e.socket(h, socket, socket)
	if !local && !p.network {
		return Edits{}
	}
	e.set("DISPLAY", display)
	authority := h.Getenv("XAUTHORITY")
	if authority == "" && h.Home != "" {
		authority = path.Join(h.Home, ".Xauthority")
	}
	if path.IsAbs(authority) && isFile(h, authority) {
		inside := path.Join(runtimeDir(h), "Xauthority")
		m := Mount{Source: authority, Target: inside, ReadOnly: true}
		if local {
			m.Display = number
		}
		e.Mounts = append(e.Mounts, m)
		e.set("XAUTHORITY", inside)
	}
	return e
}

type pipewire struct{}

func (pipewire) Name() string { return "audio" }

func (pipewire) Edits(h Host) Edits {
	var e Edits
	dir, name := h.Getenv("PIPEWIRE_RUNTIME_DIR"), h.Getenv("PIPEWIRE_REMOTE")
	if dir == "" {
		dir = hostRuntime(h)
	}
	if name == "" || strings.Contains(name, "/") {
		name = "pipewire-0"
	}
	e.socket(h, path.Join(dir, name), path.Join(runtimeDir(h), "pipewire-0"))
	return e
}

type pulse struct{}

func (pulse) Name() string { return "audio" }

func (pulse) Edits(h Host) Edits {
	var e Edits
	source, named := strings.CutPrefix(h.Getenv("PULSE_SERVER"), "unix:")
	if !named {
		source = path.Join(hostRuntime(h), "pulse", "native")
	}
	inside := path.Join(runtimeDir(h), "pulse", "native")
	if !e.socket(h, source, inside) {
		return e
	}
	e.set("PULSE_SERVER", "unix:"+inside)
	cookie := h.Getenv("PULSE_COOKIE")
	if cookie == "" && h.Home != "" {
		cookie = path.Join(h.Home, ".config/pulse/cookie")
	}
	if path.IsAbs(cookie) && isFile(h, cookie) {
		e.mount(cookie, path.Join(runtimeDir(h), "pulse", "cookie"), true)
		e.set("PULSE_COOKIE", path.Join(runtimeDir(h), "pulse", "cookie"))
	}
	return e
}

// sessionBus brings the user's bus. One with an abstract address belongs to the network namespace and is there when that is.
type sessionBus struct{ network bool }

func (sessionBus) Name() string { return "dbus" }

func (p sessionBus) Edits(h Host) Edits {
	var e Edits
	address := h.Getenv("DBUS_SESSION_BUS_ADDRESS")
	source := path.Join(hostRuntime(h), "bus")
	for one := range strings.SplitSeq(address, ";") {
		if strings.HasPrefix(one, "unix:abstract=") && p.network {
			e.set("DBUS_SESSION_BUS_ADDRESS", one)
			return e
		}
		if named, ok := strings.CutPrefix(one, "unix:path="); ok {
			source, _, _ = strings.Cut(named, ",")
			break
		}
	}
	inside := path.Join(runtimeDir(h), "bus")
	if e.socket(h, source, inside) {
		e.set("DBUS_SESSION_BUS_ADDRESS", "unix:path="+inside)
		e.Env = append(e.Env, pass(h, "XDG_CURRENT_DESKTOP", "XDG_SESSION_DESKTOP", "DESKTOP_SESSION").Env...)
	}
	return e
}

type systemBus struct{}

func (systemBus) Name() string { return "system-dbus" }

func (systemBus) Edits(h Host) Edits {
	const socket = "/run/dbus/system_bus_socket"
	var e Edits
	e.socket(h, socket, socket)
	return e
}

type sshAgent struct{}

func (sshAgent) Name() string { return "ssh-agent" }

func (sshAgent) Edits(h Host) Edits {
	var e Edits
	inside := path.Join(runtimeDir(h), "ssh-agent")
	if e.socket(h, h.Getenv("SSH_AUTH_SOCK"), inside) {
		e.set("SSH_AUTH_SOCK", inside)
	}
	return e
}

// gpgAgent brings the agent's socket to where gpg looks for it (gpgconf --list-dirs agent-socket).
type gpgAgent struct{}

func (gpgAgent) Name() string { return "gpg-agent" }

func (gpgAgent) Edits(h Host) Edits {
	var e Edits
	inside := path.Join(runtimeDir(h), "gnupg", "S.gpg-agent")
	if !e.socket(h, path.Join(hostRuntime(h), "gnupg", "S.gpg-agent"), inside) && h.Home != "" {
		e.socket(h, path.Join(h.Home, ".gnupg", "S.gpg-agent"), inside)
	}
	return e
}
