package integration

import (
	"io/fs"
	"path"
	"strings"
)

// home gives the user a home at the same path as on the host, so that the paths written in files keep their meaning: the
// host's own, one that belongs to the environment, or an empty one in memory. The project's directory is part of a home that
// is not shared.
type home struct{ kind string }

func (home) Name() string { return "home" }

func (p home) Edits(h Host) Edits {
	if h.Home == "" || h.Home == "/" || !isDir(h, h.Home) {
		return Edits{Env: []string{"HOME=/"}}
	}
	var e Edits
	switch p.kind {
	case "share":
		e.mount(h.Home, h.Home, false)
	case "private":
		e.mount(h.Private, h.Home, false)
	default:
		e.Mounts = append(e.Mounts, Mount{Target: h.Home})
	}
	if p.kind == "project" || p.kind == "private" {
		e.Mounts = append(e.Mounts, project(h)...)
	}
	e.set("HOME", h.Home)
	e.set("USER", h.User)
	e.set("LOGNAME", h.User)
	return e
}

// project shares the directory of the manifest. One that holds the whole home, or lies where a system has its own
// directories, is no project, by whatever links its path leads there.
func project(h Host) []Mount {
	if h.Project == "" || !isDir(h, h.Project) {
		return nil
	}
	real, err := h.Resolve(h.Project)
	if err != nil {
		return nil
	}
	for _, dir := range []string{h.Project, real} {
		if _, inside := below(h.Home, dir); inside || ofSystem(dir) {
			return nil
		}
	}
	return []Mount{{Source: real, Target: h.Project}} // what was looked at, wherever a link leads by the time of the mount
}

func ofSystem(dir string) bool {
	top, rest, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
	switch top {
	case "home", "srv", "mnt", "media", "opt", "var", "tmp", "run":
		return rest == ""
	case "", "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "sbin", "sys", "usr":
		return true
	}
	return false
}

// terminal passes what programs need to know about the terminal, and the host's descriptions of terminals where the
// environment has none.
type terminal struct{}

func (terminal) Name() string { return "terminal" }

func (terminal) Edits(h Host) Edits {
	e := pass(h, "TERM", "COLORTERM", "NO_COLOR", "TERM_PROGRAM", "VTE_VERSION")
	if h.Getenv("TERM") == "" {
		return e
	}
	for _, dir := range []string{"/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo"} {
		if isDir(h, dir) {
			e.mount(dir, "/run/host/terminfo", true)
			// An empty entry stands for the directories that are compiled in (terminfo(5)).
			e.set("TERMINFO_DIRS", ":/run/host/terminfo")
			break
		}
	}
	return e
}

// locale passes the user's language.
type locale struct{}

func (locale) Name() string { return "locale" }

func (locale) Edits(h Host) Edits {
	return pass(h, "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_TIME", "LC_NUMERIC", "LC_COLLATE", "LC_MONETARY", "LC_PAPER",
		"LC_NAME", "LC_ADDRESS", "LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION")
}

const zoneinfo = "/usr/share/zoneinfo"

// timezone names the host's time zone and brings the host's data of it, which the environment may lack.
type timezone struct{}

func (timezone) Name() string { return "timezone" }

func (timezone) Edits(h Host) Edits {
	var e Edits
	name := h.Getenv("TZ")
	if name == "" {
		if p, err := h.Resolve("/etc/localtime"); err == nil {
			name, _ = strings.CutPrefix(p, zoneinfo+"/")
			if path.IsAbs(name) {
				name = ""
			}
		}
	}
	if name == "" {
		return e
	}
	e.set("TZ", name)
	if isDir(h, zoneinfo) {
		e.mount(zoneinfo, "/run/host/zoneinfo", true)
		e.set("TZDIR", "/run/host/zoneinfo")
	}
	return e
}

// certificates brings the authorities that the host trusts, those of the user's own network among them.
type certificates struct{}

func (certificates) Name() string { return "certificates" }

func (certificates) Edits(h Host) Edits {
	const inside = "/run/host/ca-certificates.pem"
	var e Edits
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if isFile(h, file) {
			e.mount(file, inside, true)
			for _, name := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"} {
				e.set(name, inside)
			}
			break
		}
	}
	return e
}

// resolver binds the host's name resolution over the environment's, read-only, so that it follows the host's changes.
type resolver struct{}

func (resolver) Name() string { return "resolver" }

func (resolver) Edits(h Host) Edits {
	var e Edits
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if isFile(h, f) {
			e.mount(f, f, true)
		}
	}
	return e
}

// pass hands on the named variables that are set.
func pass(h Host, names ...string) Edits {
	var e Edits
	for _, n := range names {
		if v := h.Getenv(n); v != "" {
			e.set(n, v)
		}
	}
	return e
}

func isDir(h Host, path string) bool  { return has(h, path, fs.ModeDir) }
func isFile(h Host, path string) bool { return has(h, path, 0) }

func has(h Host, path string, kind fs.FileMode) bool {
	info, err := h.Stat(path)
	return err == nil && info.Mode().Type() == kind
}
