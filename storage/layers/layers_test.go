package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/fstree/nstest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inside() bool {
	b, _ := os.ReadFile("/proc/self/uid_map")
	return !strings.Contains(string(b), "4294967295")
}

// newStore makes an empty store and opens its layers.
func newStore(t testing.TB) *Store {
	t.Helper()
	root := filepath.Join(t.TempDir(), "store")
	_, err := storage.Create(root)
	check(t, err)
	return reopen(t, root)
}

func reopen(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root, inside())
	check(t, err)
	return s
}

// tree makes a normalised tree with one file in the store's scratch directory.
func tree(t testing.TB, s *Store, content string) (dir string, diffID digest.Digest, size int64) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(s.root, "tmp"), "tree-")
	check(t, err)
	check(t, os.Mkdir(dir+"/d", 0o700))
	check(t, os.WriteFile(dir+"/d/file", []byte(content), 0o644))
	check(t, os.Chown(dir+"/d/file", 33, 44))
	check(t, os.Chmod(dir+"/d", 0))
	check(t, fstree.Normalise(context.Background(), dir, fstree.NormaliseOptions{Epoch: 1000}))
	diffID, size, err = fstree.Digest(context.Background(), dir)
	check(t, err)
	return dir, diffID, size
}

func adopt(t testing.TB, s *Store, content string, parent digest.Digest) Layer {
	t.Helper()
	dir, diffID, size := tree(t, s, content)
	l, err := s.Adopt(context.Background(), dir, parent, diffID, size)
	check(t, err)
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the scratch directory is still there: %v", err)
	}
	return l
}

func TestAdopt(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		dir, diffID, size := tree(t, s, "base")
		inode := inodeOf(t, dir)
		base, err := s.Adopt(context.Background(), dir, "", diffID, size)
		check(t, err)
		if inodeOf(t, base.Dir) != inode {
			t.Error("the tree was copied, not renamed")
		}
		if base.DiffID != diffID || base.Size != size {
			t.Errorf("layer %+v", base)
		}
		check(t, s.Verify(context.Background(), base))
		if via, err := filepath.EvalSymlinks(base.Link); err != nil || via != base.Dir {
			t.Errorf("link leads to %s, %v", via, err)
		}
		top := adopt(t, s, "top", base.DiffID)
		again := reopen(t, s.root)
		for _, want := range []Layer{base, top} {
			if got, ok := again.Lookup(want.DiffID); !ok || got != want {
				t.Errorf("looked up %+v, %v; want %+v", got, ok, want)
			}
		}
		if all, err := again.List(); err != nil || len(all) != 2 {
			t.Errorf("list %v, %v", all, err)
		}
		// the same once more: what is there stays
		if l := adopt(t, again, "base", ""); l != base {
			t.Errorf("adopted again as %+v", l)
		}
		mountsLikeOverlay(t, top, base)
	})
}

func inodeOf(t testing.TB, path string) uint64 {
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st))
	return st.Ino
}

func mountsLikeOverlay(t *testing.T, layers ...Layer) {
	var lower []string
	for _, l := range layers {
		lower = append(lower, l.Link)
	}
	dir := t.TempDir()
	opts := "lowerdir=" + strings.Join(lower, ":")
	if inside() {
		opts += ",userxattr"
	}
	check(t, unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, opts))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if b, err := os.ReadFile(dir + "/d/file"); err != nil || string(b) != "top" {
		t.Errorf("the overlay shows %q, %v", b, err)
	}
}

func TestAdoptRefuses(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		s := newStore(t)
		dir, diffID, size := tree(t, s, "x")
		missing := digest.FromString("nothing")
		if _, err := s.Adopt(context.Background(), dir, missing, diffID, size); err == nil || !strings.Contains(err.Error(), missing.String()) {
			t.Errorf("error %v", err)
		}
		if _, err := s.Adopt(context.Background(), s.root+"/tmp/none", "", diffID, size); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
		if _, err := s.Adopt(context.Background(), s.root+"/tmp/none", "", "sha256:x", size); err == nil {
			t.Error("a malformed diffID was taken")
		}
		if _, ok := s.Lookup(diffID); ok {
			t.Error("the layer exists")
		}
		if got, err := s.Sweep(context.Background(), false); err != nil || len(got) != 0 {
			t.Errorf("sweep found %v, %v", got, err)
		}
		if names, _ := os.ReadDir(s.graphRoot() + "/overlay/staging"); len(names) != 0 {
			t.Errorf("left in staging: %v", names)
		}
		adopt(t, s, "x", "") // and now it works
	})
}

// What containers/storage has without our record was perhaps never written to the disk.
func TestGarbageIsRemade(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		for name, damage := range map[string]func(s *Store, base, top Layer){
			"record lost": func(s *Store, base, _ Layer) { check(t, os.Remove(s.recordPath(base.DiffID))) },
			"record empty": func(s *Store, base, _ Layer) {
				check(t, os.Truncate(s.recordPath(base.DiffID), 0))
			},
			"record of another": func(s *Store, base, top Layer) {
				check(t, os.Rename(s.recordPath(top.DiffID), s.recordPath(base.DiffID)))
			},
			"record is a FIFO": func(s *Store, base, _ Layer) {
				check(t, os.Remove(s.recordPath(base.DiffID)))
				check(t, unix.Mkfifo(s.recordPath(base.DiffID), 0o644))
			},
			"tree lost":            func(_ *Store, base, _ Layer) { check(t, os.RemoveAll(base.Dir)) },
			"link lost":            func(_ *Store, base, _ Layer) { check(t, os.Remove(base.Link)) },
			"layer directory lost": func(_ *Store, base, _ Layer) { check(t, os.RemoveAll(filepath.Dir(base.Dir))) },
		} {
			t.Run(name, func(t *testing.T) {
				s := newStore(t)
				base := adopt(t, s, "base", "")
				top := adopt(t, s, "top", base.DiffID)
				_, err := s.Image(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, ispec.Image{}, nil)
				check(t, err)
				os.WriteFile(base.Dir+"/d/file", nil, 0o644) // as a power cut leaves it
				damage(s, base, top)
				if _, ok := s.Lookup(base.DiffID); ok {
					t.Fatal("the layer still exists")
				}
				l := adopt(t, s, "base", "")
				check(t, s.Verify(context.Background(), l))
				if b, err := os.ReadFile(l.Link + "/d/file"); err != nil || string(b) != "base" {
					t.Errorf("the file holds %q, %v", b, err)
				}
			})
		}
	})
}

func TestVerifyFindsDamage(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		s := newStore(t)
		l := adopt(t, s, "base", "")
		check(t, os.WriteFile(l.Dir+"/d/file", []byte("bAse"), 0o644))
		var damage *DamageError
		if err := s.Verify(context.Background(), l); !errors.As(err, &damage) || damage.DiffID != l.DiffID {
			t.Errorf("error %v", err)
		}
	})
}

// A layer that could not be read to its end is not taken for a damaged one, whose record goes before it is replaced.
func TestDoubtInterrupted(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		s := newStore(t)
		l := adopt(t, s, "base", "")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if damaged, err := s.damaged(ctx, l, true); damaged || !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v, %v", damaged, err)
		}
		if damaged, err := s.damaged(context.Background(), l, true); damaged || err != nil {
			t.Errorf("whole: %v, %v", damaged, err)
		}
		check(t, os.WriteFile(l.Dir+"/d/file", []byte("other"), 0o644))
		if damaged, err := s.damaged(context.Background(), l, true); !damaged || err != nil {
			t.Errorf("damaged: %v, %v", damaged, err)
		}
	})
}

// What is made again replaces a damaged layer, whatever lies on it; a whole one stays where it is.
func TestMend(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		base := adopt(t, s, "base", "")
		top := adopt(t, s, "top", base.DiffID)
		_, err := s.Image(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, testConfig(), nil)
		check(t, err)
		if l := mend(t, s, "base", ""); l != base {
			t.Errorf("a whole layer was replaced by %+v", l)
		}
		for _, l := range []Layer{base, top} {
			check(t, os.Chmod(l.Dir+"/d", 0o700))
			check(t, os.WriteFile(l.Dir+"/d/file", []byte("other"), 0o644))
			if s.Verify(context.Background(), l) == nil {
				t.Fatal("the damage is not found")
			}
		}
		mountsLikeOverlay(t, mend(t, s, "top", base.DiffID), mend(t, s, "base", ""))
		again := reopen(t, s.root)
		for _, l := range []Layer{base, top} {
			now, ok := again.Lookup(l.DiffID)
			if !ok {
				t.Fatalf("layer %s is lost", l.DiffID)
			}
			check(t, again.Verify(context.Background(), now))
		}
	})
}

func mend(t *testing.T, s *Store, content string, parent digest.Digest) Layer {
	t.Helper()
	dir, diffID, size := tree(t, s, content)
	l, err := s.Mend(context.Background(), dir, parent, diffID, size)
	check(t, err)
	check(t, s.Verify(context.Background(), l))
	return l
}

func testConfig() ispec.Image {
	created := time.Unix(1000, 0).UTC()
	return ispec.Image{Created: &created, Platform: ispec.Platform{Architecture: "amd64", OS: "linux"},
		Config: ispec.ImageConfig{Env: []string{"PATH=/bin"}, Labels: map[string]string{"b": "2", "a": "1"}}}
}

func TestImage(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		base := adopt(t, s, "base", "")
		top := adopt(t, s, "top", base.DiffID)
		ids := []digest.Digest{base.DiffID, top.DiffID}
		i, err := s.Image(context.Background(), ids, testConfig(), nil, "localhost/karapace:one")
		check(t, err)
		var m ispec.Manifest
		check(t, json.Unmarshal(i.Manifest, &m))
		if len(m.Layers) != 2 || m.Layers[0].Digest != base.DiffID || m.Layers[1].Size != top.Size || m.Config.Digest != digest.FromBytes(i.Config) {
			t.Errorf("manifest %s", i.Manifest)
		}
		const want = `{"created":"1970-01-01T00:16:40Z","architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Labels":{"a":"1","b":"2"}},"rootfs":{"type":"layers","diff_ids":["%s","%s"]}}`
		if got := string(i.Config); got != fmt.Sprintf(want, base.DiffID, top.DiffID) {
			t.Errorf("configuration %s", got)
		}
		again, err := reopen(t, s.root).Image(context.Background(), ids, testConfig(), nil, "localhost/karapace:two")
		check(t, err)
		if again.Digest != i.Digest {
			t.Errorf("digests %s and %s", i.Digest, again.Digest)
		}
		found, err := s.FindImage(i.Digest)
		check(t, err)
		if string(found.Config) != string(i.Config) {
			t.Errorf("found configuration %s", found.Config)
		}
		if all, err := s.Images(); err != nil || !slices.Equal(all, []digest.Digest{i.Digest}) {
			t.Errorf("images %v, %v", all, err)
		}
		if _, err := s.Image(context.Background(), []digest.Digest{digest.FromString("x")}, testConfig(), nil); err == nil {
			t.Error("an image of a missing layer was made")
		}
		if _, err := s.FindImage(digest.FromString("x")); !errors.Is(err, ErrNoImage) {
			t.Errorf("error %v", err)
		}
		podmanSees(t, s)
	})
}

// podmanSees wants another program that uses containers/storage to find the image and both its layers.
func podmanSees(t *testing.T, s *Store) {
	podman, err := exec.LookPath("podman")
	if err != nil || inside() {
		return // podman wants to make its own user namespace
	}
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && cat "$(`+podman+` --root "$0" --runroot "$0/run" --storage-driver=overlay image mount localhost/karapace:two)/d/file"`, s.graphRoot())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS} // what it mounts ends with it
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CONTAINERS_STORAGE_CONF=") && !strings.HasPrefix(v, "STORAGE_DRIVER=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "top" {
		t.Errorf("podman shows %q, %v", out, err)
	}
}

func TestDeleteAndSweep(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		ctx := context.Background()
		s := newStore(t)
		base := adopt(t, s, "base", "")
		top := adopt(t, s, "top", base.DiffID)
		i, err := s.Image(ctx, []digest.Digest{base.DiffID, top.DiffID}, testConfig(), nil)
		check(t, err)
		for _, l := range []Layer{base, top} {
			if err := s.Delete(ctx, l.DiffID); !errors.Is(err, ErrInUse) {
				t.Errorf("delete of a used layer: %v", err)
			}
			if _, ok := s.Lookup(l.DiffID); !ok {
				t.Error("it is gone nevertheless")
			}
		}
		check(t, s.DeleteImage(ctx, i.Digest))
		check(t, s.Delete(ctx, top.DiffID))
		check(t, s.Delete(ctx, top.DiffID))
		if _, ok := s.Lookup(top.DiffID); ok {
			t.Error("the layer still exists")
		}
		if _, err := os.Lstat(top.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its tree is still there: %v", err)
		}
		check(t, s.Verify(ctx, base))

		lost := adopt(t, s, "lost", base.DiffID)
		child := adopt(t, s, "child", lost.DiffID)
		for _, l := range []Layer{lost, child} {
			check(t, os.Remove(s.recordPath(l.DiffID)))
		}
		want := []string{child.id, lost.id}
		for _, dry := range []bool{true, false} {
			if got, err := s.Sweep(ctx, dry); err != nil || !slices.Equal(got, want) {
				t.Errorf("sweep gives %v, %v; want %v", got, err, want)
			}
		}
		if got, err := s.Sweep(ctx, false); err != nil || len(got) != 0 {
			t.Errorf("second sweep gives %v, %v", got, err)
		}
		check(t, s.Verify(ctx, base))
	})
}

// A layer below one with a record is needed though its own record is lost.
func TestSweepSparesParents(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		s := newStore(t)
		base := adopt(t, s, "base", "")
		top := adopt(t, s, "top", base.DiffID)
		check(t, os.Remove(s.recordPath(base.DiffID)))
		if got, err := s.Sweep(context.Background(), false); err != nil || len(got) != 0 {
			t.Errorf("sweep gives %v, %v", got, err)
		}
		check(t, s.Verify(context.Background(), top))
	})
}

// Many processes and goroutines make the same two layers at once; all succeed, one of each stays.
func TestAdoptAtOnce(t *testing.T) {
	if root := os.Getenv("KARAPACE_TEST_ADOPT"); root != "" {
		adoptBoth(t, root)
		return
	}
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				cmd := exec.Command("/proc/self/exe", "-test.run", "^TestAdoptAtOnce$")
				cmd.Env = append(os.Environ(), "KARAPACE_TEST_ADOPT="+s.root)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
			wg.Go(func() { adoptBoth(t, s.root) })
		}
		wg.Wait()
		if got, err := s.Sweep(context.Background(), true); err != nil || len(got) != 0 {
			t.Errorf("left over: %v, %v", got, err)
		}
		all, err := s.List()
		check(t, err)
		if len(all) != 2 {
			t.Errorf("layers %v", all)
		}
		for _, d := range all {
			l, ok := s.Lookup(d)
			if !ok {
				t.Fatalf("layer %s does not exist", d)
			}
			check(t, s.Verify(context.Background(), l))
		}
	})
}

func adoptBoth(t *testing.T, root string) {
	s, err := Open(root, inside())
	if err != nil {
		t.Error(err)
		return
	}
	base := adopt(t, s, "base", "")
	top := adopt(t, s, "top", base.DiffID)
	if _, err := s.Image(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, testConfig(), nil); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	_, err := storage.Create(root)
	check(t, err)
	if _, err := Open(root, true); !inside() && err == nil || err != nil && !strings.Contains(err.Error(), "user namespace") {
		t.Errorf("error %v", err)
	}
	if names, _ := os.ReadDir(root + "/storage"); len(names) != 0 {
		t.Errorf("it wrote %v", names)
	}
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		adopt(t, s, "base", "")
		flag := s.graphRoot() + "/overlay/.has-mount-program"
		if b, err := os.ReadFile(flag); err != nil || string(b) != "false" {
			t.Fatalf("flag %q, %v", b, err)
		}
		check(t, os.WriteFile(flag, []byte("true"), 0o600))
		_, err := Open(s.root, inside())
		var bad *storage.Error
		if !errors.As(err, &bad) || !strings.Contains(bad.Hint, flag) {
			t.Fatalf("error %v", err)
		}
		check(t, exec.Command("sh", "-c", bad.Hint).Run())
		reopen(t, s.root)
	})
}

// Whatever the host says about containers/storage does not matter, and nothing is written outside of the store.
func TestHostDoesNotMatter(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		home := t.TempDir()
		conf := filepath.Join(home, "config/containers")
		check(t, os.MkdirAll(conf, 0o755))
		check(t, os.WriteFile(conf+"/storage.conf", []byte("this is [ no TOML"), 0o644))
		for name, value := range map[string]string{"HOME": home, "XDG_CONFIG_HOME": home + "/config", "XDG_DATA_HOME": home + "/data",
			"XDG_RUNTIME_DIR": home + "/runtime", "CONTAINERS_STORAGE_CONF": conf + "/storage.conf", "STORAGE_DRIVER": "vfs",
			"STORAGE_OPTS": "overlay.mount_program=/bin/false", "_CONTAINERS_ROOTLESS_UID": "1234", "_CONTAINERS_USERNS_CONFIGURED": "done"} {
			t.Setenv(name, value)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestHostDoesNotMatterChild$", "-test.v")
		s := newStore(t)
		cmd.Env = append(os.Environ(), "KARAPACE_TEST_STORE="+s.root)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestHostDoesNotMatterChild") {
			t.Errorf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "level=") {
			t.Errorf("it complains:\n%s", out)
		}
		if names, _ := os.ReadDir(home); len(names) != 1 {
			t.Errorf("in the home appeared %v", names)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		check(t, err)
		if strings.Contains(string(mounts), s.root) {
			t.Errorf("mounts stay:\n%s", mounts)
		}
	})
}

func TestHostDoesNotMatterChild(t *testing.T) {
	root := os.Getenv("KARAPACE_TEST_STORE")
	if root == "" {
		t.Skip("only as the child of TestHostDoesNotMatter")
	}
	l := adopt(t, reopen(t, root), "base", "")
	if !strings.HasPrefix(l.Dir, root+"/storage/overlay/") {
		t.Errorf("the layer is at %s", l.Dir)
	}
}
