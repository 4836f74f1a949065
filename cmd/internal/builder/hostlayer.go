package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/rootview"
)

// The host layer is a directory of this host's, on top of the content-addressed ones and below the writable one. It holds
// what sessions mount onto and the user's account, so that neither is drift and programs inside may still replace
// /etc/passwd by a rename. It is derived from the record, never captured, and no part of any digest.

const accountsLimit = 4 << 20 // bytes of a passwd or group file

// hostLayer fills dir and tells the digest of what is in it then.
func (w *worker) hostLayer(ctx context.Context, dir string, r *storage.Record) (digest.Digest, error) {
	var lowers []string
	for _, l := range r.Lower {
		lowers = append(lowers, w.store.Path(l))
	}
	h := &hostLayer{dir: dir, below: rootview.New(lowers...), user: w.user}
	if err := h.fill(r); err != nil {
		return "", failure.New(failure.Store, fmt.Errorf("prepare environment: %w", err), "")
	}
	d, _, err := fstree.Digest(ctx, dir)
	return d, failure.New(failure.Store, err, "")
}

type hostLayer struct {
	dir   string
	below rootview.View
	user  wire.User
}

func (h *hostLayer) fill(r *storage.Record) error {
	for _, d := range []string{"/dev", "/proc", "/sys", "/run", "/tmp", "/etc"} {
		if err := h.directory(d); err != nil {
			return err
		}
	}
	if !r.NetworkIsolation {
		for _, f := range []string{"/etc/resolv.conf", "/etc/hosts"} {
			if err := h.file(f, nil); err != nil {
				return err
			}
		}
	}
	if home, err := filepath.EvalSymlinks(h.user.Home); err == nil && home != "/" {
		if err := h.directory(home); err != nil {
			return err
		}
	}
	if err := h.desktop(r); err != nil {
		return err
	}
	if err := h.targets(r); err != nil {
		return err
	}
	if h.user.UID == 0 {
		return nil
	}
	return h.accounts()
}

// desktop makes what integration mounts on outside /run: X11's sockets and the project's directory.
func (h *hostLayer) desktop(r *storage.Record) error {
	for _, d := range []string{"/tmp/.X11-unix", r.ManifestDir} {
		if d == "" || h.refuseLinks(d) != nil {
			continue // the session says what it cannot mount
		}
		if err := h.directory(d); err != nil {
			return err
		}
	}
	return nil
}

// targets makes what the manifest's mounts need: a directory, or a file where the host has one.
func (h *hostLayer) targets(r *storage.Record) error {
	for _, m := range r.Mounts {
		if err := h.refuseLinks(m.Container); err != nil {
			return failure.New(failure.Manifest, fmt.Errorf("mount %s: %w", m.Label, err), "name the directory itself")
		}
		make := h.directory
		if info, err := os.Stat(hostPath(m.Host, h.user.Home, r.ManifestDir)); err == nil && !info.IsDir() {
			make = func(p string) error { return h.file(p, nil) }
		}
		if err := make(m.Container); err != nil {
			return err
		}
	}
	return nil
}

func hostPath(p, home, dir string) string {
	switch {
	case p == "~" || strings.HasPrefix(p, "~/"):
		return filepath.Join(home, p[1:])
	case filepath.IsAbs(p):
		return p
	default:
		return filepath.Join(dir, p)
	}
}

// refuseLinks: a directory made over a link of the base would hide what the link leads to.
func (h *hostLayer) refuseLinks(target string) error {
	for p := target; p != "/"; p = path.Dir(p) {
		if h.below.IsLink(p) {
			return fmt.Errorf("%s is a symbolic link in the base", p)
		}
	}
	return nil
}

// directory makes a directory and those above it, with the modes they have in the layers below.
func (h *hostLayer) directory(p string) error {
	at := h.dir
	inside := "/"
	for part := range strings.SplitSeq(strings.Trim(path.Clean(p), "/"), "/") {
		at, inside = filepath.Join(at, part), path.Join(inside, part)
		if err := os.Mkdir(at, 0o755); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := os.Chmod(at, h.mode(inside)); err != nil {
			return err
		}
	}
	return nil
}

func (h *hostLayer) mode(inside string) fs.FileMode {
	if inside == "/tmp" {
		return 0o777 | fs.ModeSticky
	}
	if m, err := h.below.Mode(inside); err == nil && m.IsDir() {
		return m.Perm()
	}
	return 0o755
}

// file makes a file that root of the environment owns.
func (h *hostLayer) file(p string, data []byte) error {
	if err := h.directory(path.Dir(p)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, p), data, 0o644)
}

// accounts adds the user to passwd and group as the layers below have them.
func (h *hostLayer) accounts() error {
	u := h.user
	uid, gid := strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	name := accountName(u.Name, uid)
	passwd, err := h.lines("/etc/passwd", "root:x:0:0:root:/root:/bin/sh")
	if err != nil {
		return err
	}
	group, err := h.lines("/etc/group", "root:x:0:")
	if err != nil {
		return err
	}
	passwd = slices.DeleteFunc(passwd, func(l string) bool { return field(l, 2) == uid || field(l, 0) == name })
	passwd = append(passwd, strings.Join([]string{name, "x", uid, gid, "", u.Home, h.shell(u.Shell)}, ":"))
	if !slices.ContainsFunc(group, func(l string) bool { return field(l, 2) == gid }) {
		group = slices.DeleteFunc(group, func(l string) bool { return field(l, 0) == name })
		group = append(group, strings.Join([]string{name, "x", gid, ""}, ":"))
	}
	if err := h.file("/etc/passwd", text(passwd)); err != nil {
		return err
	}
	return h.file("/etc/group", text(group))
}

// accountName is the user's name if a passwd file can hold it.
func accountName(name, uid string) string {
	if name == "" || name == "root" || strings.ContainsAny(name, ":\n") {
		return "user" + uid
	}
	return name
}

func (h *hostLayer) lines(file, otherwise string) ([]string, error) {
	f, err := h.below.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{otherwise}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, accountsLimit))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(body), "\n"), "\n"), nil
}

// shell is the user's if the environment has it, else the best it has.
func (h *hostLayer) shell(wanted string) string {
	for _, s := range []string{wanted, "/bin/" + path.Base(wanted), "/bin/bash"} {
		if m, err := h.below.Mode(s); path.IsAbs(s) && err == nil && m.IsRegular() && !strings.ContainsAny(s, ":\n") {
			return s
		}
	}
	return "/bin/sh"
}

func field(line string, n int) string {
	parts := strings.Split(line, ":")
	if n >= len(parts) {
		return ""
	}
	return parts[n]
}

func text(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }
