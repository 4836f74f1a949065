package layers

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree/nstest"
)

// Killed at any moment, making layers leaves a store in which the same works, and nothing that is half there.
func TestAdoptKilled(t *testing.T) {
	if root := os.Getenv("KARAPACE_TEST_KILLED"); root != "" {
		adoptBoth(t, root)
		return
	}
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	nstest.Both(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		s := newStore(t)
		for round := range rounds {
			cmd := exec.Command("/proc/self/exe", "-test.run", "^TestAdoptKilled$")
			cmd.Env = append(os.Environ(), "KARAPACE_TEST_KILLED="+s.root)
			check(t, cmd.Start())
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			wholeOrGone(t, s)
			if _, err := s.Sweep(context.Background(), false); err != nil {
				t.Fatalf("round %d: sweep: %v", round, err)
			}
			wholeOrGone(t, s)
		}
		adoptBoth(t, s.root)
		if left, err := s.Sweep(context.Background(), false); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
		for _, dir := range []string{"overlay/staging", "overlay/tempdirs"} {
			if names, _ := os.ReadDir(filepath.Join(s.graphRoot(), dir)); len(names) > 0 {
				t.Errorf("left in %s: %v", dir, names)
			}
		}
	})
}

// wholeOrGone verifies every layer there is.
func wholeOrGone(t *testing.T, s *Store) {
	t.Helper()
	all, err := s.List()
	check(t, err)
	for _, d := range all {
		if l, ok := s.Lookup(d); ok {
			check(t, s.Verify(context.Background(), l))
		}
	}
}

// What was acknowledged survives a power cut, in which a file system loses all that was not flushed.
func TestPowerCut(t *testing.T) {
	if os.Geteuid() != 0 || inside() {
		t.Skip("only root can mount a file system and stop it")
	}
	if os.Getenv("KARAPACE_TEST_MOUNTS") == "" { // nobody else may get a copy of the mount, which would outlive ours
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^TestPowerCut$", "-test.v")
		cmd.Env = append(os.Environ(), "KARAPACE_TEST_MOUNTS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("in mounts of its own: %v\n%s", err, out)
		}
		return
	}
	const noLogFlush = 2 // EXT4_GOING_FLAGS_NOLOGFLUSH
	top := t.TempDir()
	disk, mnt := top+"/disk", top+"/mnt"
	check(t, os.Mkdir(mnt, 0o755))
	run := func(args ...string) {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v\n%s", args, err, out)
		}
	}
	run("truncate", "-s", "64M", disk)
	run("mkfs.ext4", "-q", "-F", disk)
	run("mount", "-o", "loop", disk, mnt)
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	var acknowledged []Layer
	var image *Image
	for round := range 3 {
		_, err := storage.Create(mnt + "/store")
		check(t, err)
		// a process of its own for each life of the file system: containers/storage remembers what it has open
		s := reopen(t, mnt+"/store")
		acknowledged = append(acknowledged, adopt(t, s, string(rune('a'+round)), ""))
		if round == 0 {
			image, err = s.Image(context.Background(), []digest.Digest{acknowledged[0].DiffID}, ispec.Image{}, nil)
			check(t, err)
		}
		dir, diffID, size := tree(t, s, "lost")
		c, err := s.open()
		check(t, err)
		check(t, place(c, dir, "", &record{DiffID: diffID, ID: diffID.Encoded(), Size: size})) // and no more
		f, err := os.Open(mnt)
		check(t, err)
		check(t, unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, noLogFlush)) // FS_IOC_SHUTDOWN
		check(t, f.Close())
		run("umount", mnt)
		run("mount", "-o", "loop", disk, mnt)
		for _, l := range acknowledged {
			now, ok := s.Lookup(l.DiffID)
			if !ok {
				t.Fatalf("round %d: layer %s is lost", round, l.DiffID)
			}
			check(t, s.Verify(context.Background(), now))
		}
		if _, ok := s.Lookup(diffID); ok {
			t.Error("what was not acknowledged is taken for a layer")
		}
		found, err := s.FindImage(image.Digest)
		check(t, err)
		if string(found.Config) != string(image.Config) {
			t.Error("the image is not what it was")
		}
	}
}
