package engine

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/karapace/karapace/storage"
)

// userBus is the socket of the user's message bus: of the address in the environment, else where systemd puts it. An abstract one begins
// with "@"; empty is none. Only the limits of who is not root need it.
func (e *Engine) userBus(r *storage.Record) string {
	if e.User.UID == 0 || r.CPUShares == 0 && r.MemoryLimitMB == 0 {
		return ""
	}
	for address := range strings.SplitSeq(e.Getenv("DBUS_SESSION_BUS_ADDRESS"), ";") {
		if path := unixSocket(address); path != "" {
			return path
		}
	}
	for _, dir := range []string{e.Getenv("XDG_RUNTIME_DIR"), filepath.Join("/run/user", strconv.Itoa(e.User.UID))} {
		path := filepath.Join(dir, "bus")
		if info, err := os.Stat(path); filepath.IsAbs(dir) && err == nil && info.Mode().Type() == os.ModeSocket {
			return path
		}
	}
	return ""
}

// unixSocket is the socket of an address (D-Bus specification, Server Addresses); empty when it is of another kind.
func unixSocket(address string) string {
	params, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return ""
	}
	for param := range strings.SplitSeq(params, ",") {
		key, value, _ := strings.Cut(param, "=")
		value, err := url.PathUnescape(value)
		switch {
		case err != nil || value == "" || strings.ContainsRune(value, 0):
		case key == "path" && filepath.IsAbs(value):
			return value
		case key == "abstract":
			return "@" + value
		}
	}
	return ""
}
