package integration

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code gives")

// fakeHost is a host made of a map: path to kind ("dir", "file", "socket", "char", or "-> TARGET").
type fakeHost struct {
	paths map[string]string
	env   map[string]string
}

func (f fakeHost) host() Host {
	return Host{
		Getenv: func(name string) string { return f.env[name] },
		Stat: func(p string) (fs.FileInfo, error) {
			kind, ok := f.paths[p]
			if target, link := strings.CutPrefix(kind, "-> "); link {
				kind, ok = f.paths[target]
			}
			if !ok {
				return nil, fs.ErrNotExist
			}
			return info{map[string]fs.FileMode{"dir": fs.ModeDir, "file": 0, "socket": fs.ModeSocket, "char": fs.ModeDevice | fs.ModeCharDevice}[kind]}, nil
		},
		Resolve: func(p string) (string, error) {
			if target, link := strings.CutPrefix(f.paths[p], "-> "); link {
				return target, nil
			}
			return p, nil
		},
		List: func(dir string) ([]string, error) {
			var names []string
			for p := range f.paths {
				if filepath.Dir(p) == dir {
					names = append(names, filepath.Base(p))
				}
			}
			if names == nil {
				return nil, errors.New("no such directory")
			}
			slices.Sort(names)
			return names, nil
		},
		UID: 1000, GID: 1000, Home: "/home/ada", User: "ada", Cwd: "/home/ada/src", Project: "/home/ada/src", Private: "/store/home",
	}
}

type info struct{ mode fs.FileMode }

func (i info) Name() string       { return "" }
func (i info) Size() int64        { return 0 }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// desktop is a host that has everything.
func desktop() fakeHost {
	return fakeHost{
		paths: map[string]string{
			"/home/ada": "dir", "/home/ada/src": "dir", "/home/ada/.Xauthority": "file", "/home/ada/.config/pulse/cookie": "file",
			"/usr/share/terminfo": "dir", "/etc/localtime": "-> /usr/share/zoneinfo/Europe/Vienna", zoneinfo: "dir", "/usr/share/zoneinfo/Europe/Vienna": "file",
			"/etc/ssl/certs/ca-certificates.crt": "file", "/etc/resolv.conf": "file", "/etc/hosts": "file",
			"/run/user/1000/wayland-1": "socket", "/tmp/.X11-unix/X0": "socket", "/run/user/1000/pipewire-0": "socket", "/run/user/1000/pulse/native": "socket",
			"/run/user/1000/bus": "socket", "/run/dbus/system_bus_socket": "socket", "/run/user/1000/keyring/ssh": "socket", "/run/user/1000/gnupg/S.gpg-agent": "socket",
			"/dev/dri": "dir", "/dev/kfd": "char", "/dev/snd": "dir", "/dev/video0": "char", "/dev/video1": "char", "/dev/videodev": "char", "/dev/input": "dir", "/dev/uinput": "char", "/dev/hidraw0": "char",
			"/dev/nvidia0": "char", "/dev/nvidiactl": "char", "/dev/nvidia-uvm": "char", "/dev/nvidia-caps": "dir",
			"/usr/lib64/libcuda.so.1": "-> /usr/lib64/libcuda.so.570.1", "/usr/lib64/libcuda.so.570.1": "file", "/usr/lib64/libc.so.6": "file", "/usr/lib64/libnvidia-ml.so": "file",
			"/usr/share/fonts": "dir", "/usr/share/themes": "dir", "/usr/share/icons": "dir",
		},
		env: map[string]string{
			"TERM": "xterm-256color", "LANG": "de_AT.UTF-8", "XDG_RUNTIME_DIR": "/run/user/1000", "WAYLAND_DISPLAY": "wayland-1", "DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland",
			"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus,guid=0123", "SSH_AUTH_SOCK": "/run/user/1000/keyring/ssh", "XCURSOR_SIZE": "24", "XDG_CURRENT_DESKTOP": "GNOME",
			"AWS_SECRET_ACCESS_KEY": "secret", "LD_PRELOAD": "/evil.so", "EDITOR": "vi",
		},
	}
}

func policyOf(t *testing.T, facts Facts, settings map[string]string) Policy {
	t.Helper()
	p, err := NewPolicy(facts, maps.All(settings))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every provider: what it asks for where the host has its thing, where it has not, and when its switch is off. The exact edits
// are in testdata.
func TestProviders(t *testing.T) {
	all := map[string]string{"pass_env": "EDITOR"}
	for _, s := range switches() {
		all[s] = "true"
	}
	full, bare := desktop().host(), fakeHost{}.host()
	everything := policyOf(t, Facts{Profile: "desktop", Network: true}, all)
	got := map[string]any{}
	for _, provider := range everything.providers() {
		name := typeName(provider)
		edits := map[string]Edits{"present": provider.Edits(full), "absent": provider.Edits(bare)}
		if s := provider.Name(); s != "home" && s != "terminal" { // homes are below, and a terminal is of no host
			denied := policyOf(t, Facts{Profile: "desktop", Network: true}, map[string]string{s: "false"})
			if denied.Allows(s) {
				t.Errorf("%s is allowed although it is denied", s)
			}
			edits["denied"] = Edits{}
			for _, asked := range denied.providers() {
				if asked.Name() == s {
					edits["denied"] = asked.Edits(full)
				}
			}
		}
		got[name] = edits
	}
	for _, kind := range []string{"share", "private", "project", "none"} {
		got["home "+kind] = home{kind}.Edits(full)
	}
	golden(t, "providers.json", got)
}

// The profiles, on a host that has everything: what a whole session gets.
func TestProfiles(t *testing.T) {
	got := map[string]any{}
	for _, name := range []string{"desktop", "project", "isolated"} {
		p := policyOf(t, Facts{Profile: name, Network: true}, nil)
		got[name] = Collect(desktop().host(), p)
	}
	got["desktop with hardware"] = Collect(desktop().host(), policyOf(t, Facts{Profile: "desktop", Network: true, GPU: true, Audio: true}, nil))
	got["desktop without network"] = Collect(desktop().host(), policyOf(t, Facts{Profile: "desktop"}, nil))
	got["desktop, nothing there"] = Collect(fakeHost{}.host(), policyOf(t, Facts{Profile: "desktop", Network: true}, nil))
	golden(t, "profiles.json", got)
}

func TestDescribe(t *testing.T) {
	p := policyOf(t, Facts{Profile: "desktop", Network: true}, map[string]string{"ssh-agent": "false"})
	golden(t, "describe.json", Describe(desktop().host(), p))
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got)+"\n" {
		t.Errorf("%s is not what the code gives (go test -update writes it):\n%s", file, got)
	}
}

func typeName(p Provider) string { return strings.ToLower(reflect.TypeOf(p).Name()) }

// No variable passes that nobody named.
func TestSecretsStayOutside(t *testing.T) {
	host := desktop()
	for i := range 200 {
		host.env["SECRET_"+string(rune('A'+i%26))+strings.Repeat("X", i/26)] = "s3cret"
	}
	for _, profile := range []string{"desktop", "project", "isolated"} {
		for _, kv := range Collect(host.host(), policyOf(t, Facts{Profile: profile, Network: true}, nil)).Env {
			if strings.Contains(kv, "s3cret") || strings.HasPrefix(kv, "AWS_") || strings.HasPrefix(kv, "LD_PRELOAD") || strings.HasPrefix(kv, "EDITOR") {
				t.Errorf("%s lets %s in", profile, kv)
			}
		}
	}
}

// Sockets elsewhere, links in their place, and addresses of other forms.
func TestOddHosts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h fakeHost)
		check  func(e Edits) bool
	}{
		"a display of another machine": {func(h fakeHost) { h.env["DISPLAY"] = "far:1.0" }, func(e Edits) bool { return slices.Contains(e.Env, "DISPLAY=far:1.0") }},
		"no display":                   {func(h fakeHost) { h.env["DISPLAY"] = "nonsense" }, func(e Edits) bool { return !hasEnv(e, "DISPLAY") }},
		"an abstract bus": {func(h fakeHost) { h.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:abstract=/tmp/dbus-1" }, func(e Edits) bool {
			return slices.Contains(e.Env, "DBUS_SESSION_BUS_ADDRESS=unix:abstract=/tmp/dbus-1")
		}},
		"an agent that is a file":     {func(h fakeHost) { h.paths["/run/user/1000/keyring/ssh"] = "file" }, func(e Edits) bool { return !hasEnv(e, "SSH_AUTH_SOCK") }},
		"an agent by a relative path": {func(h fakeHost) { h.env["SSH_AUTH_SOCK"] = "agent" }, func(e Edits) bool { return !hasEnv(e, "SSH_AUTH_SOCK") }},
		"a Wayland socket elsewhere":  {func(h fakeHost) { h.env["WAYLAND_DISPLAY"], h.paths["/tmp/w"] = "/tmp/w", "socket" }, func(e Edits) bool { return slices.Contains(e.Env, "WAYLAND_DISPLAY=w") }},
		"no runtime directory":        {func(h fakeHost) { delete(h.env, "XDG_RUNTIME_DIR") }, func(e Edits) bool { return hasEnv(e, "PULSE_SERVER") }},
		"a time zone by variable":     {func(h fakeHost) { h.env["TZ"] = "UTC" }, func(e Edits) bool { return slices.Contains(e.Env, "TZ=UTC") }},
		"a home that is the root":     {func(h fakeHost) { h.paths["/home/ada"] = "file" }, func(e Edits) bool { return slices.Contains(e.Env, "HOME=/") }},
	} {
		host := desktop()
		c.change(host)
		e := Collect(host.host(), policyOf(t, Facts{Profile: "desktop", Network: true}, nil))
		if !c.check(e) {
			t.Errorf("%s: %v", name, e.Env)
		}
	}
}

func hasEnv(e Edits, name string) bool {
	return slices.ContainsFunc(e.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// A project that is a directory of the system, or holds the home, is not shared, and neither is a link to one.
func TestProject(t *testing.T) {
	for dir, want := range map[string]string{
		"/home/ada/src": "/home/ada/src", "/srv/src": "/srv/src", "/home/ada": "", "/home": "", "/": "", "": "", "/etc/x": "", "/usr/src/x": "", "/tmp": "", "/tmp/x": "/tmp/x",
		"/home/ada/same": "", "/people": "", "/srv/ada": "", "/srv/root": "", "/work": "", "/srv/run": "", "/srv/lost": "", "/srv/link": "/home/ada/src", "/etc/link": "",
	} {
		host := desktop()
		maps.Copy(host.paths, map[string]string{
			"/home": "dir", "/etc": "dir", "/run": "dir", "/": "dir", dir: cmp.Or(map[string]string{
				"/home/ada/same": "-> /home/ada", "/people": "-> /home", "/srv/ada": "-> /home/ada", "/srv/root": "-> /", "/work": "-> /etc", "/srv/run": "-> /run",
				"/srv/lost": "-> /home/ada/gone", "/srv/link": "-> /home/ada/src", "/etc/link": "-> /home/ada/src",
			}[dir], "dir"),
		})
		h := host.host()
		h.Project = dir
		got := ""
		for _, m := range project(h) {
			if got = m.Source; m.Target != dir || m.ReadOnly {
				t.Errorf("%q is shared as %v", dir, m)
			}
		}
		if got != want {
			t.Errorf("%q: shared %q, want %q", dir, got, want)
		}
		h.Resolve = func(string) (string, error) { return "", fs.ErrPermission }
		if shared := project(h); len(shared) != 0 {
			t.Errorf("%q, which cannot be resolved, is shared: %v", dir, shared)
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	if _, err := NewPolicy(Facts{Profile: "desktp"}, maps.All(map[string]string{})); err == nil {
		t.Error("a profile that is none was taken")
	}
}

func TestWorkingDir(t *testing.T) {
	mounts := []Mount{{Source: "/home/ada", Target: "/home/ada"}, {Source: "/srv/data", Target: "/data"}, {Source: "/home/ada/deep", Target: "/deep"}, {Target: "/home/bob"}}
	for cwd, want := range map[string]string{
		"/home/ada": "/home/ada", "/home/ada/src": "/home/ada/src", "/srv/data/x": "/data/x", "/home/ada/deep/y": "/deep/y",
		"/home/adam": "/fallback", "/": "/fallback", "/srv": "/fallback", "/home/bob": "/fallback",
	} {
		if got := WorkingDir(cwd, mounts, "/fallback"); got != want {
			t.Errorf("%s: got %s, want %s", cwd, got, want)
		}
	}
}
