package distrobox

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest"
)

// container is what podman and docker say of one, as far as it tells how a box was made.
type container struct {
	Name   string
	Args   []string
	Config struct {
		Image  string
		Labels map[string]string
		Env    []string
	}
	Mounts []mount
}

type mount struct {
	Type, Name, Source, Destination string
	RW                              bool
}

// FromInspect reads the box from what "podman inspect" or "docker inspect" prints of its container, distrobox's or toolbox's.
func FromInspect(text []byte) (*Box, error) {
	var all []container
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("what inspect printed cannot be read: %w", err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("inspect printed %d containers, not one", len(all))
	}
	c := all[0]
	b := &Box{Name: strings.TrimPrefix(c.Name, "/"), values: map[string][]string{}} // docker writes a slash
	b.set("image", c.Config.Image)
	switch {
	case c.Config.Labels["manager"] == "distrobox":
		b.takeArguments(c.Args)
		b.takeMounts(c)
	case c.Config.Labels["com.github.containers.toolbox"] == "true": // all of its mounts are toolbox's own
	default:
		return nil, errors.New("it is no box: it has neither distrobox's label, manager=distrobox, nor toolbox's, com.github.containers.toolbox=true")
	}
	return b, nil
}

func (b *Box) set(key, value string) {
	if value != "" {
		b.values[key] = append(b.values[key], value)
	}
}

// takeArguments reads those of distrobox-init, which is what a box runs.
func (b *Box) takeArguments(args []string) {
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			b.set("init_hooks", strings.Join(args[i+1:], " "))
			return
		}
		if !strings.HasPrefix(args[i], "--") || i+1 == len(args) {
			continue
		}
		flag, value := args[i], args[i+1]
		i++
		switch flag {
		case "--additional-packages":
			b.set("additional_packages", value)
		case "--pre-init-hooks":
			b.set("pre_init_hooks", value)
		case "--init", "--nvidia":
			if value == "1" {
				b.set(strings.TrimPrefix(flag, "--"), "true")
			}
		}
	}
}

// takeMounts takes those that are not distrobox's own, and the home if it is not the user's.
func (b *Box) takeMounts(c container) {
	env := map[string]string{}
	for _, kv := range c.Config.Env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	if env["DISTROBOX_HOST_HOME"] != "" {
		b.set("home", env["HOME"])
	}
	mounts := slices.Clone(c.Mounts)
	slices.SortFunc(mounts, func(a, b mount) int { return strings.Compare(a.Destination, b.Destination) })
	for _, m := range mounts {
		home := m.Source == m.Destination && (m.Source == env["HOME"] || m.Source == env["DISTROBOX_HOST_HOME"] || path.Dir(m.Source) == "/var/home")
		switch {
		case home || ownMount(m.Destination):
		case m.Type != "bind":
			b.set("named_volume", m.Name+":"+m.Destination)
		default:
			b.takeVolume(m)
		}
	}
}

// takeVolume takes a mount as it is, if a manifest can say it: no path with a colon, for one.
func (b *Box) takeVolume(m mount) {
	volume := m.Source + ":" + m.Destination
	if !m.RW {
		volume += ":ro"
	}
	text := "manifest_version = 1\n[base]\nimage = \"docker://debian\"\n[mounts]\nvolume = " + strconv.Quote(volume)
	read, err := manifest.Parse("volume", []byte(text))
	if err != nil || read.Mounts[0].Host != m.Source || read.Mounts[0].Container != m.Destination {
		b.left = append(b.left, "volume="+volume)
		return
	}
	b.volumes = append(b.volumes, volume)
}

// ownMount says that distrobox makes a mount in every box.
func ownMount(destination string) bool {
	switch destination {
	case "/tmp", "/etc/hosts", "/etc/hostname", "/etc/localtime", "/etc/resolv.conf", "/usr/bin/entrypoint", "/var/log/journal", "/run/shm", "/nix", "/gnu":
		return true
	}
	for _, tree := range []string{"/dev", "/sys", "/run/host", "/run/user", "/run/current-system"} {
		if destination == tree || strings.HasPrefix(destination, tree+"/") {
			return true
		}
	}
	return strings.HasPrefix(destination, "/usr/bin/distrobox-")
}
