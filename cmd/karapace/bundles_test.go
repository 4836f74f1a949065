package main

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// Stock runtimes run exported bundles as they are, root's and those of an ordinary user, who is root inside.
func TestBundles(t *testing.T) {
	if os.Getuid() != 0 {
		newBundleBench(t, nil).all(t)
		return
	}
	debian := t.TempDir()
	t.Run("root", func(t *testing.T) {
		b := newBundleBench(t, nil)
		b.all(t)
		b.debian(t, debian)
	})
	t.Run("user", func(t *testing.T) {
		b := newUserBench(t, "karapace-test")
		b.all(t)
		b.image(t, debian)
	})
}

type bundleBench struct {
	dir string
	who *syscall.Credential // nil is the caller
}

func newBundleBench(t *testing.T, who *syscall.Credential) *bundleBench {
	dir, err := os.MkdirTemp("/var/tmp", "karapace-bundles-") // where everybody may go
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, testground.WriteTiny(filepath.Join(dir, "base.tar")))
	must(t, os.WriteFile(filepath.Join(dir, "t.toml"), []byte("manifest_version = 1\n[base]\nimage = \"./base.tar\"\n[env]\nFROM_MANIFEST = \"yes\"\n"), 0o644))
	for _, program := range []string{"karapace", "karapace-store"} {
		must(t, exec.Command("cp", filepath.Join(binaries, program), dir).Run())
	}
	b := &bundleBench{dir, who}
	if who != nil {
		must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return cmp.Or(err, os.Lchown(path, int(who.Uid), int(who.Gid)))
		}))
	}
	t.Cleanup(func() { b.command("karapace", "destroy", "--all", "--force").Run() })
	return b
}

func (b *bundleBench) command(program string, args ...string) *exec.Cmd {
	if program == "karapace" {
		program = filepath.Join(b.dir, program)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin:" + os.Getenv("KARAPACE_BACKEND_PATH"), "HOME=" + b.dir, "XDG_RUNTIME_DIR=" + b.dir, "KARAPACE_STORE=" + filepath.Join(b.dir, "store")}
	if b.who != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.who}
	}
	return cmd
}

func output1(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, stderr.Bytes())
	}
	return string(out)
}

func (b *bundleBench) all(t *testing.T) {
	output1(t, b.command("karapace", "build", "t.toml", "--name", "t"))
	const look = `id -u; id -g; hostname; echo $FROM_MANIFEST; stat -c %u:%g /var/owned; touch /here && chown 42:43 /here && stat -c %u:%g /here; grep NoNewPrivs /proc/self/status; grep "Seccomp:" /proc/self/status`
	const want = "0\n0\nt\nyes\n42:43\n42:43\nNoNewPrivs:\t1\nSeccomp:\t2\n"
	output1(t, b.command("karapace", "exec", "t", "-u", "0", "--", "sh", "-c", "touch /var/owned && chown 42:43 /var/owned"))
	output1(t, b.command("karapace", "export", "t", "--format", "bundle", "--with-drift", "-o", "bundle", "--", "sh", "-ec", look))
	t.Cleanup(func() { // by the way: of what belongs to other ids nothing is left
		if err := b.replaceAndRemove(); err != nil {
			t.Errorf("remove bundle: %v", err)
		}
	})
	b.runtimes(t, func(t *testing.T, got string) {
		if got != want {
			t.Errorf("it says\n%s\nand not\n%s", got, want)
		}
	})
}

// runtimes runs the bundle with each of the stock runtimes.
func (b *bundleBench) runtimes(t *testing.T, check func(t *testing.T, output string)) {
	for _, runtime := range []string{"crun", "runc", "youki"} {
		t.Run(runtime, func(t *testing.T) {
			cmd, why := b.runtime(runtime)
			if why != "" {
				t.Skip(why)
			}
			check(t, output1(t, cmd))
		})
	}
}

// debian builds a real one, exports it as an image to a directory, and runs its git as a bundle.
func (b *bundleBench) debian(t *testing.T, image string) {
	must(t, os.MkdirAll(filepath.Join(b.dir, "store"), 0o700))
	vault := filepath.Join(b.dir, "store", "vault", "sha256")
	must(t, copyFiles(filepath.Join(cacheDir(), "vault"), vault))
	output1(t, b.command("karapace", "build", b.manifest(t, "bootstrap:debian/bookworm", "[system]\npackages = [\"git\"]\n"), "--name", "debian"))
	must(t, copyFiles(vault, filepath.Join(cacheDir(), "vault")))
	output1(t, b.command("karapace", "export", "debian", "--format", "oci", "-o", filepath.Join(image, "debian")))
	b.git(t)
}

// image runs git of the image that debian has exported.
func (b *bundleBench) image(t *testing.T, dir string) {
	must(t, exec.Command("cp", "-r", filepath.Join(dir, "debian"), b.dir).Run())
	must(t, exec.Command("chmod", "-R", "a+rX", filepath.Join(b.dir, "debian")).Run())
	output1(t, b.command("karapace", "build", b.manifest(t, "./debian", ""), "--name", "debian"))
	b.git(t)
}

func (b *bundleBench) git(t *testing.T) {
	output1(t, b.command("karapace", "export", "debian", "--format", "bundle", "--force", "-o", "bundle", "--", "git", "--version"))
	b.runtimes(t, func(t *testing.T, got string) {
		if !strings.HasPrefix(got, "git version ") {
			t.Errorf("git says %q", got)
		}
	})
}

func (b *bundleBench) manifest(t *testing.T, image, rest string) (file string) {
	must(t, os.WriteFile(filepath.Join(b.dir, "debian.toml"), []byte("manifest_version = 1\n[base]\nimage = \""+image+"\"\n"+rest), 0o644))
	return "debian.toml"
}

// replaceAndRemove exports a bundle over the one in which files of other ids are, and removes it.
func (b *bundleBench) replaceAndRemove() error {
	if out, err := b.command("karapace", "export", "t", "--format", "bundle", "--force", "-o", "bundle").CombinedOutput(); err != nil {
		return &exec.Error{Name: string(out), Err: err}
	}
	left, err := filepath.Glob(filepath.Join(b.dir, ".karapace-export-*"))
	if err == nil && len(left) > 0 {
		err = &fs.PathError{Op: "find", Path: left[0], Err: fs.ErrExist}
	}
	return err
}

// runtime is the command that runs the bundle, or why that is impossible here. Two things are this machine's and no
// matter of the bundle: crun takes no hybrid cgroups, and youki needs a cgroup it may write to; a youki that was built
// without systemd has to be told which, in a user namespace.
func (b *bundleBench) runtime(name string) (cmd *exec.Cmd, why string) {
	path, err := exec.LookPath(name)
	if name == "youki" {
		path, err = exec.LookPath(filepath.Join(os.Getenv("KARAPACE_BACKEND_PATH"), name))
	}
	if err != nil {
		return nil, name + " is not installed"
	}
	run := []string{path, "run", "--bundle", filepath.Join(b.dir, "bundle"), "karapace-" + name + strconv.Itoa(os.Getpid())}
	if name == "youki" { // it misses the end of a container that comes before it has begun to wait for it, and waits for ever
		run = append([]string{"env", "--block-signal=CHLD"}, run...)
	}
	var st unix.Statfs_t
	hybrid := unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
	switch {
	case name == "runc", name == "crun" && !hybrid, name == "youki" && os.Getuid() == 0 && b.who == nil:
		return b.command(run[0], run[1:]...), ""
	case os.Getuid() != 0:
		return nil, name + " gets no cgroups that it can use here; root's run of this test gives it some"
	case name == "crun":
		return b.around(`mount -t tmpfs none /sys/fs/cgroup`, nil, append([]string{run[0], "--cgroup-manager=disabled"}, run[1:]...)), ""
	}
	return b.around(`
		own=/sys/fs/cgroup/karapace-$$; test ! -e /sys/fs/cgroup/unified || own=/sys/fs/cgroup/unified/karapace-$$
		mkdir $own; chown $1:$2 $own $own/cgroup.procs $own/cgroup.subtree_control
		trap "echo 0 >$own/../cgroup.procs; rmdir $own" EXIT
		echo $$ >$own/cgroup.procs
		sed -i 's|^  "linux": {|&"cgroupsPath":"/own",|' bundle/config.json`, []string{"unshare", "--cgroup", "--mount", "sh", "-ec", `mount -t cgroup2 none /sys/fs/cgroup; exec "$@"`, "sh"}, run), ""
}

// around prepares mounts and cgroups as root, and runs a command in them, within others, as whom the bundle belongs to.
func (b *bundleBench) around(prepare string, within, run []string) *exec.Cmd {
	who := &syscall.Credential{}
	if b.who != nil {
		who = b.who
	}
	uid, gid := strconv.Itoa(int(who.Uid)), strconv.Itoa(int(who.Gid))
	args := []string{"--mount", "--propagation", "private", "sh", "-ec", prepare + "\nshift 2\n\"$@\"", "sh", uid, gid}
	args = append(append(args, within...), "setpriv", "--reuid", uid, "--regid", gid, "--clear-groups")
	root := &bundleBench{dir: b.dir}
	return root.command("unshare", append(args, run...)...)
}
