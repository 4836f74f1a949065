package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

const (
	desktop = "karapace exec, the whole desktop"
	alone   = "karapace exec, isolated"
)

// desktopRows start `true` with everything of the host that the profile desktop lets in.
var desktopRows = []row{
	{What: desktop, Against: alone, AtMost: 2},
}

func desktops(ctx context.Context, l *lab) *group {
	g := &group{name: "the desktop", rounds: l.rounds}
	err := l.buildBench(ctx)
	var env []string
	if err == nil {
		env, err = l.session(g)
	}
	if err != nil {
		g.missing(desktop, err)
		g.missing(alone, err)
		return g
	}
	g.add(alone, l.karapace, "exec", "bench", "--profile", "isolated", "--", program).env = env
	g.add(desktop, l.karapace, "exec", "bench", "--profile", "desktop", "--", program).env = env
	return g
}

// session makes the sockets of a user's session, which nobody answers at, and gives the variables that name them. X11's is there where
// the machine has the directory that all users' have to be in.
func (l *lab) session(g *group) ([]string, error) {
	run := l.path("run")
	sockets := []string{"wayland-0", "bus", "pipewire-0", "pipewire-0-manager", "pulse/native", "ssh", "gnupg/S.gpg-agent"}
	env := []string{"WAYLAND_DISPLAY=wayland-0", "DBUS_SESSION_BUS_ADDRESS=unix:path=" + filepath.Join(run, "bus"), "SSH_AUTH_SOCK=" + filepath.Join(run, "ssh"), "TERM=xterm", "LANG=C.UTF-8"}
	for i := range sockets {
		sockets[i] = filepath.Join(run, sockets[i])
	}
	const x11 = "/tmp/.X11-unix"
	if _, err := os.Stat(x11); err == nil {
		sockets, env = append(sockets, x11+"/X4077"), append(env, "DISPLAY=:4077")
	}
	for _, path := range sockets {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		s, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		g.closers = append(g.closers, func() { s.Close() })
	}
	return env, nil
}
