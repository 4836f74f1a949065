package integration

import (
	"io/fs"
	"reflect"
	"testing"
	"time"
)

// fakeHost is a host whose files are names with "/" for directories.
func fakeHost(files []string, env map[string]string) Host {
	return Host{
		Getenv: func(n string) string { return env[n] },
		Stat: func(p string) (fs.FileInfo, error) {
			for _, f := range files {
				if f == p {
					return info{fs.FileMode(0o644)}, nil
				}
				if f == p+"/" {
					return info{fs.ModeDir | 0o755}, nil
				}
			}
			return nil, fs.ErrNotExist
		},
		UID: 1000, Home: "/home/ada", User: "ada", Cwd: "/home/ada/src",
	}
}

type info struct{ mode fs.FileMode }

func (i info) Name() string       { return "" }
func (i info) Size() int64        { return 0 }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// Every provider, on a host that has its thing and on one that has not.
func TestProviders(t *testing.T) {
	full := fakeHost([]string{"/home/ada/", "/etc/resolv.conf", "/etc/hosts"},
		map[string]string{"TERM": "xterm", "LANG": "de_DE.UTF-8", "AWS_SECRET_ACCESS_KEY": "s", "SSH_AUTH_SOCK": "/x", "LD_PRELOAD": "/y"})
	bare := fakeHost(nil, nil)
	for _, c := range []struct {
		provider Provider
		host     Host
		want     Edits
	}{
		{home{}, full, Edits{Mounts: []Mount{{Source: "/home/ada", Target: "/home/ada"}}, Env: []string{"HOME=/home/ada", "USER=ada", "LOGNAME=ada"}}},
		{home{}, bare, Edits{Env: []string{"HOME=/"}}},
		{terminal{}, full, Edits{Env: []string{"TERM=xterm"}}},
		{terminal{}, bare, Edits{}},
		{locale{}, full, Edits{Env: []string{"LANG=de_DE.UTF-8"}}},
		{locale{}, bare, Edits{}},
		{resolver{}, full, Edits{Mounts: []Mount{{"/etc/resolv.conf", "/etc/resolv.conf", true}, {"/etc/hosts", "/etc/hosts", true}}}},
		{resolver{}, bare, Edits{}},
	} {
		if got := c.provider.Edits(c.host); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.provider.Name(), got, c.want)
		}
	}
}

// A home that is the root directory is not mounted over the environment.
func TestHomeIsRoot(t *testing.T) {
	h := fakeHost([]string{"//"}, nil)
	h.Home = "/"
	if got := (home{}).Edits(h); len(got.Mounts) != 0 {
		t.Errorf("mounts %v", got.Mounts)
	}
}

func TestWorkingDir(t *testing.T) {
	mounts := []Mount{{Source: "/home/ada", Target: "/home/ada"}, {Source: "/srv/data", Target: "/data"}, {Source: "/home/ada/deep", Target: "/deep"}}
	for cwd, want := range map[string]string{
		"/home/ada": "/home/ada", "/home/ada/src": "/home/ada/src", "/srv/data/x": "/data/x", "/home/ada/deep/y": "/deep/y",
		"/home/adam": "/fallback", "/": "/fallback", "/srv": "/fallback",
	} {
		if got := WorkingDir(cwd, mounts, "/fallback"); got != want {
			t.Errorf("%s: got %s, want %s", cwd, got, want)
		}
	}
}

// An isolated network does not follow the host's name resolution.
func TestSession(t *testing.T) {
	for _, p := range Session(false) {
		if p.Name() == "resolver" {
			t.Error("a session without the host's network has its resolver")
		}
	}
	if len(Session(true)) != len(Session(false))+1 {
		t.Error("sharing the network adds one provider")
	}
}
