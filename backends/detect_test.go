package backends

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What runtimes say of themselves, in their two ways, and what is made of it.
func TestDetect(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", "/bin:/usr/bin")
	for name, script := range map[string]string{
		"crun":  "echo 'crun version 1.8.1\ncommit: f\nrundir: /run\nspec: 1.0.0\n+SYSTEMD +SELINUX -CRIU'",
		"youki": `case $1 in --version) echo "youki version: 0.5.0";; features) echo '{"linux":{"cgroup":{"v1":false,"v2":true},"seccomp":{"enabled":true},"mountExtensions":{"idmap":{"enabled":true}}}}';; esac`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]Info{
		"crun":  {Name: "crun", Available: true, Version: "1.8.1", Path: dir + "/crun", Features: []string{"systemd", "selinux"}},
		"youki": {Name: "youki", Available: true, Version: "0.5.0", Path: dir + "/youki", Features: []string{"cgroup2", "seccomp", "idmap"}},
	} {
		t.Setenv("PATH", dir+":/bin:/usr/bin")
		if got := detectRuntime(context.Background(), name, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	broken := filepath.Join(dir, "runc")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := detectRuntime(context.Background(), "runc", nil); got.Available || got.Reason != broken+" --version: exit status 3" {
		t.Errorf("a broken runtime is %+v", got)
	}
}
