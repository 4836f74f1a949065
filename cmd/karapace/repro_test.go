package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// reproduction builds one lock again and again.
type reproduction struct {
	dir  string // readable by everybody
	bin  string // a copy of the programs there
	want output

	large bool // files are not fetched anew for each build
}

// output is what every build of a lock must give.
type output struct {
	EnvID        string `json:"env_id"`
	BaseLayer    string `json:"base_layer"`
	PackageLayer string `json:"package_layer"`
	ImageDigest  string `json:"image_digest"`
}

// variation is one way to build.
type variation struct {
	name    string
	quick   bool // part of every run; the others need KARAPACE_REPRO=full
	root    bool // needs root
	needs   []string
	prefix  []string // before karapace
	env     []string
	flags   []string // behind karapace build
	as      string   // a user's name
	offline bool     // with the vault of the first build
}

// onFileSystem runs the rest in mount namespace of its own, with the store on a new file system.
func onFileSystem(mkfs string) []string {
	return []string{"unshare", "--mount", "--propagation", "private", "sh", "-ec", `
		truncate -s 2G "$DIR/image"
		` + mkfs + ` "$DIR/image" >/dev/null
		mount -o loop "$DIR/image" "$DIR/fs"
		exec "$@"`, "sh"}
}

func shell(script string) []string { return []string{"sh", "-ec", script + `; exec "$@"`, "sh"} }

func variations() []variation {
	other := []string{"LANG=de_DE.UTF-8", "LC_ALL=tr_TR.UTF-8", "TZ=Asia/Tokyo"}
	return []variation{
		{name: "all that a user can change", quick: true, prefix: append(shell("umask 077"), "taskset", "--cpu-list", "0"), env: other},
		{name: "an unprivileged user", quick: true, root: true, as: "karapace-test", env: other},
		{name: "crun", quick: true, flags: []string{"--build-backend=crun"}, needs: []string{"crun"}},
		{name: "runc", flags: []string{"--build-backend=runc"}, needs: []string{"runc"}},
		{name: "youki", root: true, flags: []string{"--build-backend=youki"}, needs: []string{"youki"}},
		{name: "umask", prefix: shell("umask 077")},
		{name: "locale and time zone", env: other},
		{name: "one processor", prefix: []string{"taskset", "--cpu-list", "0"}},
		{name: "host name", root: true, prefix: append([]string{"unshare", "--uts"}, shell("hostname elsewhere")...)},
		{name: "network cut", root: true, prefix: []string{"unshare", "--net"}, offline: true},
		{name: "another unprivileged user", root: true, as: "karapace-test2"},
		{name: "fuse-overlayfs", root: true, env: []string{"KARAPACE_OVERLAY=fuse"}, needs: []string{"fuse-overlayfs"}},
		{name: "ext4", root: true, prefix: onFileSystem("mkfs.ext4 -q"), needs: []string{"mkfs.ext4"}},
		{name: "xfs", root: true, prefix: onFileSystem("mkfs.xfs -q"), needs: []string{"mkfs.xfs"}},
		{name: "btrfs", root: true, prefix: onFileSystem("mkfs.btrfs -q"), needs: []string{"mkfs.btrfs"}},
		{name: "tmpfs", root: true, prefix: append([]string{"unshare", "--mount", "--propagation", "private"}, shell(`mount -t tmpfs none "$DIR/fs"`)...)},
	}
}

// One lock gives one image, whoever builds it, where, when and how.
func TestReproduction(t *testing.T) {
	if !haveFixtures() {
		t.Skip("hack/setup fixtures makes what this needs")
	}
	for _, manager := range []string{"apt", "dnf", "zypper", "pacman"} {
		t.Run(manager, func(t *testing.T) {
			r := newReproduction(t, "./base.tar", "minihello", "minisvc", "minitrig", "miniedge")
			s := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(fixturesDir(), "repo"))))
			t.Cleanup(s.Close)
			check(t, writeFixture(filepath.Join(fixturesDir(), "base", manager+".tar"), filepath.Join(r.dir, "first/project/base.tar"), nil, s.URL))
			r.all(t, func(v variation) bool { return v.quick || os.Getenv("KARAPACE_REPRO") == "full" })
		})
	}
}

// The same at the size of real work: a Debian with hundreds of packages.
func TestReproductionLarge(t *testing.T) {
	if os.Getenv("KARAPACE_REPRO") != "full" {
		t.Skip("make test-repro runs this: it installs hundreds of packages, several times")
	}
	r := newReproduction(t, "bootstrap:debian/bookworm", "build-essential", "dbus", "fontconfig", "git", "openssh-server", "python3", "vim",
		"emacs-nox", "gdb", "cmake", "imagemagick", "sqlite3", "subversion", "tmux", "rsync", "wget", "man-db", "locales", "default-jre-headless", "nginx-light", "ca-certificates", "cron", "sudo", "iputils-ping")
	r.large = true
	vault := filepath.Join(r.dir, "first/fs/store/vault/sha256")
	check(t, copyFiles(filepath.Join(cacheDir(), "vault"), vault))
	before := r.onBase(t)
	r.all(t, func(v variation) bool { return v.quick })
	r.costs(t, before)
	check(t, copyFiles(vault, filepath.Join(cacheDir(), "vault")))
	lock, err := os.ReadFile(filepath.Join(r.dir, "first/project/karapace.lock"))
	check(t, err)
	_, resolved, _ := strings.Cut(string(lock), "resolved_packages")
	n := strings.Count(resolved, "{ name = ")
	t.Logf("%d packages", n)
	if n < 200 {
		t.Errorf("%d packages are not the size of real work", n)
	}
}

// onBase builds an environment that is the base alone, and tells what the store takes then, but for the vault.
func (r *reproduction) onBase(t *testing.T) int64 {
	dir := filepath.Join(r.dir, "first")
	text, err := os.ReadFile(filepath.Join(dir, "project/karapace.toml"))
	check(t, err)
	alone, _, _ := strings.Cut(string(text), "[system]")
	check(t, os.WriteFile(filepath.Join(dir, "project/alone.toml"), []byte(alone), 0o644))
	r.run(t, variation{}, dir, []string{filepath.Join(r.bin, "karapace"), "--store", filepath.Join(dir, "fs/store"), "build", "alone.toml"})
	return r.disk(t, "--exclude=./vault", ".")
}

// disk is what du says of files of the first store, in bytes.
func (r *reproduction) disk(t *testing.T, args ...string) (n int64) {
	cmd := exec.Command("du", append([]string{"--summarize", "--block-size=1"}, args...)...)
	cmd.Dir = filepath.Join(r.dir, "first/fs/store")
	out, err := cmd.Output()
	check(t, err)
	_, err = fmt.Sscan(string(out), &n)
	check(t, err)
	return n
}

// costs wants a second environment on a base to take the disk space of its own packages.
func (r *reproduction) costs(t *testing.T, before int64) {
	if os.Getuid() != 0 {
		return // what belongs to subordinate ids is not all readable
	}
	s, err := storage.Open(filepath.Join(r.dir, "first/fs/store"))
	check(t, err)
	rec, err := s.Record(manifest.EnvID(r.want.EnvID))
	check(t, err)
	own := r.disk(t, "--dereference-args", rec.Lower[0])
	more := r.disk(t, "--exclude=./vault", ".") - before
	t.Logf("its packages take %d MB, the store grew by %d MB", own/1e6, more/1e6)
	if more > own+own/100 {
		t.Errorf("a second environment on a base costs %d bytes, and its packages %d", more, own)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newReproduction prepares the first build.
func newReproduction(t *testing.T, image string, packages ...string) *reproduction {
	dir, err := os.MkdirTemp("/var/tmp", "karapace-repro-") // not where only this user may look
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	r := &reproduction{dir: dir, bin: filepath.Join(dir, "bin")}
	check(t, os.Mkdir(r.bin, 0o755))
	for _, name := range []string{"karapace", "karapace-store"} {
		check(t, copyFile(filepath.Join(binaries, name), filepath.Join(r.bin, name)))
		check(t, os.Chmod(filepath.Join(r.bin, name), 0o755))
	}
	project := r.project(t, filepath.Join(dir, "first"))
	text := fmt.Sprintf("manifest_version = 1\n[base]\nimage = %q\n[system]\npackages = [\"%s\"]\n", image, strings.Join(packages, `", "`))
	check(t, os.WriteFile(filepath.Join(project, "karapace.toml"), []byte(text), 0o644))
	return r
}

// all builds for the first time, which resolves, and then in other ways.
func (r *reproduction) all(t *testing.T, chosen func(variation) bool) {
	r.want = r.build(t, variation{}, filepath.Join(r.dir, "first"))
	t.Logf("image %s", r.want.ImageDigest)
	for i, v := range variations() {
		if chosen(v) {
			t.Run(v.name, func(t *testing.T) { r.vary(t, v, filepath.Join(r.dir, strconv.Itoa(i))) })
		}
	}
	t.Run("clock and order of directories", r.otherwise)
}

// project makes the directories of one build, and gives the one the manifest is in.
func (r *reproduction) project(t *testing.T, dir string) string {
	for _, d := range []string{dir, filepath.Join(dir, "fs"), filepath.Join(dir, "project")} {
		check(t, os.Mkdir(d, 0o755))
		check(t, os.Chmod(d, 0o755))
	}
	return filepath.Join(dir, "project")
}

// vary builds the lock in another way, and compares.
func (r *reproduction) vary(t *testing.T, v variation, dir string) {
	if v.root && os.Getuid() != 0 {
		t.Skip("only root can do this")
	}
	for _, p := range v.needs {
		if v.name == p && unavailable(t, p) == "" {
			continue
		}
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	project := r.project(t, dir)
	for _, name := range []string{"base.tar", "karapace.toml", "karapace.lock"} {
		if err := os.Link(filepath.Join(r.dir, "first", "project", name), filepath.Join(project, name)); !errors.Is(err, fs.ErrNotExist) {
			check(t, err)
		}
	}
	if v.offline || r.large {
		check(t, copyFiles(filepath.Join(r.dir, "first/fs/store/vault/sha256"), filepath.Join(dir, "fs/store/vault/sha256")))
		v.flags = append(v.flags, "--offline")
	}
	v.flags = append(v.flags, "--locked")
	if got := r.build(t, v, dir); got != r.want {
		t.Errorf("built was\n%+v\nat first it was\n%+v", got, r.want)
	}
}

// build runs karapace build in a project, in a store of its own.
func (r *reproduction) build(t *testing.T, v variation, dir string) (out output) {
	t.Helper()
	store := filepath.Join(dir, "fs", "store")
	args := append(append([]string{}, v.prefix...), filepath.Join(r.bin, "karapace"), "--store", store, "build", "--json")
	text := r.run(t, v, dir, append(args, v.flags...))
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// otherwise has the first build verified under a clock that is ahead, in memory.
func (r *reproduction) otherwise(t *testing.T) {
	dir := filepath.Join(r.dir, "first")
	text := r.run(t, variation{}, dir, []string{filepath.Join(r.bin, "karapace"), "--store", filepath.Join(dir, "fs", "store"), "verify", "--rebuild", "--otherwise", "--offline"})
	for _, circumstance := range []string{"order of directories", "clock, 400 days ahead"} {
		if !bytes.Contains(text, []byte(circumstance)) {
			t.Errorf("%s did not change: %s", circumstance, text)
		}
	}
}

func (r *reproduction) run(t *testing.T, v variation, dir string, args []string) []byte {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(dir, "project")
	cmd.Env = append([]string{"HOME=" + dir, "DIR=" + dir, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "KARAPACE_BACKEND_PATH=" + os.Getenv("KARAPACE_BACKEND_PATH")}, v.env...)
	if v.as != "" {
		credential, err := identity(v.as)
		if err != nil {
			t.Skip(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		check(t, filepath.WalkDir(filepath.Join(dir, "fs"), func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(credential.Uid), int(credential.Gid)))
		}))
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	t.Cleanup(func() {
		if v.as == "" && os.Getuid() != 0 || v.as != "" {
			clean := exec.Command(filepath.Join(r.bin, "karapace"), "--store", filepath.Join(dir, "fs", "store"), "destroy", "--all", "--force")
			clean.SysProcAttr, clean.Env = cmd.SysProcAttr, cmd.Env
			clean.Run()
		}
	})
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// identity is a user of this machine who may have containers.
func identity(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("hack/test makes the user %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}
