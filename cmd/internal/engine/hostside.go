package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/storage"
)

// policy says what of the host a session is let see.
func policy(r *storage.Record, o SessionOptions) (integration.Policy, error) {
	facts := integration.Facts{Profile: "desktop", Network: !r.NetworkIsolation, GPU: r.Hardware.GPU, Audio: r.Hardware.Audio}
	if o.profile != "" {
		facts.Profile = o.profile
	}
	p, err := integration.NewPolicy(facts, func(yield func(name, value string) bool) {
		for _, s := range r.Integration {
			if !(s.Name == "profile" && o.Profile != "") && !yield(s.Name, s.Value) {
				return
			}
		}
		if o.Profile != "" {
			yield("profile", o.Profile)
		}
	})
	return p, failure.New(failure.Usage, err, "")
}

// host is what integration may look at.
func (e *Engine) host(s *storage.Store, r *storage.Record) integration.Host {
	home, err := filepath.EvalSymlinks(e.User.Home)
	if info, statErr := os.Stat(home); err != nil || statErr != nil || !info.IsDir() {
		home = ""
	}
	cwd, err := filepath.EvalSymlinks(e.Cwd) // the shell's own may lead through links, and so lie below no mount
	if err != nil {
		cwd = e.Cwd
	}
	project := r.ManifestDir
	if e.ofQuick(r) {
		project = "" // a part of the store is for no session to write to
	}
	return integration.Host{
		Getenv: e.Getenv, Stat: os.Stat, Resolve: filepath.EvalSymlinks, List: names,
		Read: func(path string) ([]byte, error) { return readFile(path, deviceSpecLimit) },
		UID:  e.User.UID, GID: e.User.GID, Home: home, User: e.User.Name, Cwd: cwd,
		Project: project, Private: s.EnvDir(r.EnvID, "home"),
	}
}

const deviceSpecLimit = 1 << 20 // bytes of a specification of devices

func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(1 << 14)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return list, err
}

// edits are what the policy lets in, and what the manifest's mounts do.
func (e *Engine) edits(s *storage.Store, r *storage.Record, host integration.Host, p integration.Policy) (integration.Edits, error) {
	if p.Home == "private" {
		if err := os.Mkdir(host.Private, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return integration.Edits{}, storeFailure(err)
		}
	}
	edits := integration.Collect(host, p)
	for i, m := range edits.Mounts {
		source, err := filepath.EvalSymlinks(m.Source)
		if m.Source == "" || err != nil {
			continue // what is gone by now is told by the mount itself
		}
		if m.Display != "" {
			if source, err = e.authority(s, r, source, m.Display); err != nil {
				e.Progress.Note("the key of the X display stays outside: " + err.Error())
				source = os.DevNull
			}
		}
		edits.Mounts[i].Source = source
	}
	declared, err := e.declaredMounts(r)
	edits.Mounts = append(edits.Mounts, declared...)
	return edits, err
}

// declaredMounts expands the manifest's mounts on this host.
func (e *Engine) declaredMounts(r *storage.Record) ([]integration.Mount, error) {
	var mounts []integration.Mount
	for _, m := range r.Mounts {
		src, err := filepath.EvalSymlinks(expand(m.Host, e.User.Home, r.ManifestDir))
		if err != nil {
			return nil, failure.New(failure.General, fmt.Errorf("mount %s: %w", m.Label, err),
				fmt.Sprintf("create it, or change [mounts] %s in the manifest and rebuild", m.Label))
		}
		mounts = append(mounts, integration.Mount{Source: src, Target: m.Container, ReadOnly: m.ReadOnly})
	}
	return mounts, nil
}

func expand(host, home, manifestDir string) string {
	switch {
	case host == "~":
		return home
	case strings.HasPrefix(host, "~/"):
		return filepath.Join(home, host[2:])
	case filepath.IsAbs(host):
		return host
	default:
		return filepath.Join(manifestDir, host)
	}
}

// mounts turns what integration asks for into entries of the runtime document.
func mounts(list []integration.Mount, h integration.Host) []rspec.Mount {
	out := make([]rspec.Mount, 0, len(list))
	for _, m := range list {
		if m.Source == "" {
			out = append(out, rspec.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: []string{
				"nosuid", "nodev", "mode=0700", fmt.Sprintf("uid=%d", h.UID), fmt.Sprintf("gid=%d", h.GID)}})
			continue
		}
		opts := []string{"rbind", "nosuid"}
		if !m.Device {
			opts = append(opts, "nodev")
		}
		if m.ReadOnly {
			opts = append(opts, "ro")
		}
		out = append(out, rspec.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: opts})
	}
	return out
}
