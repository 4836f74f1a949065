package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A device of the host that its user may open only through a supplementary group can be opened inside when it is let in, by the session of
// that user; all other sessions have no groups of the host's.
func TestSupplementaryGroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to make a device; root's run of this test is for a user too")
	}
	b := newUserBench(t, "karapace-test")
	manifest := "manifest_version = 1\n[base]\nimage = \"./base.tar\"\n[integration]\nprofile = \"isolated\"\n"
	must(t, os.WriteFile(filepath.Join(b.dir, "t.toml"), []byte(manifest), 0o644))
	must(t, os.WriteFile(filepath.Join(b.dir, "camera.toml"), []byte(manifest+"camera = true\n"), 0o644))
	for _, name := range []string{"t", "camera"} {
		output1(t, b.command("karapace", "build", name+".toml", "--name", name))
	}
	const group, look = "54321", `id -G; head -c 3 /dev/video77 2>/dev/null | od -An -tx1 || true`
	uid, gid := strconv.Itoa(int(b.who.Uid)), strconv.Itoa(int(b.who.Gid))
	for name, want := range map[string]bool{"camera": true, "t": false} {
		told := output1(t, b.withDevice(uid, gid, gid, group, "enter", name, "--print-policy"))
		if strings.Contains(told, "your supplementary ones") != want {
			t.Errorf("the policy of %s is\n%s", name, told)
		}
	}
	for _, backend := range []string{"namespace", "crun", "runc"} {
		for _, c := range []struct {
			name, groups string
			args         []string
			want         string
		}{
			{"let in", gid + "," + group, []string{"camera"}, gid + " 65534\n 00 00 00\n"},
			{"not of the group", gid, []string{"camera"}, gid + "\n"},
			{"kept out", gid + "," + group, []string{"t"}, gid + "\n"},
			{"root of the environment", gid + "," + group, []string{"camera", "-u", "0"}, "0\n"},
			{"somebody of the environment's", gid + "," + group, []string{"camera", "-u", "service"}, "42 43\n"},
		} {
			t.Run(backend+" "+c.name, func(t *testing.T) {
				if why := unavailable(t, backend); why != "" {
					t.Skipf("%s cannot run here: %s", backend, why)
				}
				args := append([]string{"exec", "--backend", backend}, c.args...)
				if got := output1(t, b.withDevice(uid, gid, c.groups, group, append(args, "--", "sh", "-c", look)...)); got != c.want {
					t.Errorf("%q, want %q", got, strings.TrimSpace(c.want))
				}
			})
		}
	}
}

// withDevice is karapace as a user of these groups, where /dev has a device more, of a group.
func (b *bundleBench) withDevice(uid, gid, groups, group string, args ...string) *exec.Cmd {
	root := &bundleBench{dir: b.dir}
	return root.command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-euc", `
		uid=$1 gid=$2 groups=$3 group=$4
		shift 4
		mkdir -p host
		mount --rbind /dev host
		mount -t tmpfs -o mode=755 none /dev
		for name in null zero full random urandom tty; do
			: >/dev/$name
			mount --bind host/$name /dev/$name
		done
		mkdir /dev/pts /dev/shm
		mount --bind host/pts /dev/pts
		ln -s pts/ptmx /dev/ptmx
		mknod -m 660 /dev/video77 c 1 5
		chgrp $group /dev/video77
		exec setpriv --reuid $uid --regid $gid --groups $groups ./karapace "$@"`, "sh", uid, gid, groups, group}, args...)...)
}
