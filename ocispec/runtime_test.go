package ocispec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden documents")

func session() Session {
	return Session{
		Hostname: "project",
		Process:  Process{Args: []string{"git", "--version"}, Cwd: "/home/ada/src", UID: 1000, GID: 1000, Env: []string{"EXTRA=1"}},
		ImageEnv: []string{"PATH=/usr/local/go/bin:/usr/bin", "GOTOOLCHAIN=local"},
		Edits: Edits{
			Mounts: []rspec.Mount{{Destination: "/home/ada", Type: "bind", Source: "/home/ada", Options: []string{"rbind", "nosuid", "nodev"}}},
			Env:    []string{"HOME=/home/ada", "TERM=xterm-256color"},
		},
		ManifestEnv: []string{"EDITOR=vim"},
	}
}

// The whole policy, as documents to read.
func TestGolden(t *testing.T) {
	root := session()
	root.Process.UID, root.Process.GID, root.Process.Terminal = 0, 0, true
	isolated := session()
	isolated.NetworkIsolation, isolated.ReadOnlyRoot, isolated.KeepCgroups = true, true, true
	limited := session()
	limited.CPUShares, limited.MemoryLimitMB = 512, 256
	for name, spec := range map[string]*rspec.Spec{
		"user": Runtime(session()), "root": Runtime(root), "isolated": Runtime(isolated), "limited": Runtime(limited),
		"rootless": Rootless(Runtime(root), []rspec.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}, []rspec.LinuxIDMapping{{ContainerID: 0, HostID: 100, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}),
		"build":    Build("rootfs", []string{"apt-get", "install"}, []string{"PATH=" + Path}, Edits{}),
	} {
		got, err := json.MarshalIndent(spec, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
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
			t.Errorf("%s differs from %s; if that is meant: go test ./ocispec -update", name, file)
		}
	}
}

// Only well-formed entries of an image reach the document, and the user's win.
func TestEnv(t *testing.T) {
	s := session()
	s.ImageEnv = []string{"NOVALUE", "=x", "A B=1", "LD_*=x", "NUL=a\x00b", "OK=1", "OK=2", "EDITOR=emacs", "TERM=dumb", "EXTRA=0"}
	env := strings.Join(Runtime(s).Process.Env, "\n")
	want := strings.Join([]string{"PATH=" + Path, "OK=2", "EDITOR=vim", "TERM=xterm-256color", "EXTRA=1", "HOME=/home/ada"}, "\n")
	if env != want {
		t.Errorf("got\n%s\nwant\n%s", env, want)
	}
}

// Nothing but the environment variables of an image changes the document, whatever is in it.
func TestImageCannotChangeIsolation(t *testing.T) {
	plain, hostile := Runtime(session()), session()
	hostile.ImageEnv = append(hostile.ImageEnv, "run.oci.handler=krun", "org.criu.config=/x", "LISTEN_FDS=3")
	got := Runtime(hostile)
	got.Process.Env = plain.Process.Env
	if !reflect.DeepEqual(got, plain) {
		t.Error("an image's variables changed more than the variables")
	}
	if len(got.Annotations) != 0 || got.Hooks != nil {
		t.Error("the document has annotations or hooks")
	}
}

// No document asks for a user namespace or joins a namespace by path.
func TestNamespaces(t *testing.T) {
	for _, isolated := range []bool{false, true} {
		s := session()
		s.NetworkIsolation = isolated
		network := false
		for _, ns := range Runtime(s).Linux.Namespaces {
			if ns.Type == rspec.UserNamespace || ns.Path != "" {
				t.Errorf("namespace %v", ns)
			}
			network = network || ns.Type == rspec.NetworkNamespace
		}
		if network != isolated {
			t.Errorf("network namespace is %v, want %v", network, isolated)
		}
	}
}
