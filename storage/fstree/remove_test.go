package fstree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

func TestRemoveAll(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		for name, c := range map[string]struct{ script string }{
			"nothing":            {`true`},
			"file":               {`echo x > tree`},
			"link to outside":    {`ln -s ../outside tree`},
			"dangling link":      {`ln -s nothing tree`},
			"link inside":        {`mkdir tree; ln -s ../outside tree/l; ln -s ../outside/file tree/f`},
			"hard link":          {`mkdir tree; echo x > tree/a; ln tree/a tree/b`},
			"without permission": {`mkdir -p tree/a/b/c; echo x > tree/a/b/c/d; chmod 000 tree/a/b/c/d tree/a/b/c tree/a/b tree/a tree`},
			"other owner":        {`mkdir -p tree/a; echo x > tree/a/b; chown -R 65533:65533 tree; chmod 700 tree/a`},
			"odd names":          {`mkdir -p "tree/$(printf 'a\nb')" tree/-rf "tree/$(printf '\377')"; echo x > "tree/-rf/$(printf '\377')"`},
			"FIFO":               {`mkdir tree; mkfifo tree/f`},
		} {
			t.Run(name, func(t *testing.T) {
				top := t.TempDir()
				write(t, top+"/outside/file", "canary")
				before := state(t, top+"/outside")
				runIn(t, top, c.script)
				check(t, RemoveAll(top+"/tree"))
				if names, _ := filepath.Glob(top + "/*"); len(names) != 1 {
					t.Errorf("left %v", names)
				}
				if names, _ := filepath.Glob(top + "/.*"); len(names) != 0 {
					t.Errorf("left %v", names)
				}
				if after := state(t, top+"/outside"); after != before {
					t.Errorf("outside was\n%s\nand is\n%s", before, after)
				}
			})
		}
		t.Run("deeper than a path can be long", func(t *testing.T) {
			top := t.TempDir()
			dir, err := openTree(top)
			check(t, err)
			for range 1500 {
				check(t, unix.Mkdirat(dir, "tree", 0o700))
				below, err := openDir(dir, "tree")
				check(t, err)
				check(t, unix.Close(dir))
				dir = below
			}
			check(t, unix.Close(dir))
			check(t, RemoveAll(top+"/tree"))
			if names, _ := os.ReadDir(top); len(names) != 0 {
				t.Errorf("left %v", names)
			}
		})
		// What lay deep is beside the tree then, by a name that says of what it is, however often that happens (storage.Unnamed).
		t.Run("ended early", func(t *testing.T) {
			top := t.TempDir()
			for _, name := range []string{"tree", ".tree.47.1"} {
				target := mkdir(t, top, name+strings.Repeat("/d", 2*maxDepth)+"/mounted")
				check(t, unix.Mount(target, target, "", unix.MS_BIND, ""))
				if err := RemoveAll(top + "/" + name); err == nil || !strings.Contains(err.Error(), "mounted") {
					t.Errorf("error %v", err)
				}
			}
			names, err := os.ReadDir(top)
			check(t, err)
			for _, e := range names {
				if own, moved := strings.CutPrefix(strings.TrimLeft(e.Name(), "."), "tree"); !moved || own != "" && own[0] != '.' {
					t.Errorf("left %s", e.Name())
				}
				unix.Unmount(top+"/"+e.Name()+"/mounted", unix.MNT_DETACH)
				check(t, RemoveAll(top+"/"+e.Name()))
			}
			if len(names) != 6 {
				t.Errorf("left %v", names)
			}
		})
		t.Run("mount point", func(t *testing.T) {
			top := t.TempDir()
			write(t, top+"/outside/file", "canary")
			target := mkdir(t, top, "tree/a/mounted")
			check(t, unix.Mount(top+"/outside", target, "", unix.MS_BIND, ""))
			defer unix.Unmount(target, unix.MNT_DETACH)
			if err := RemoveAll(top + "/tree"); err == nil || !strings.Contains(err.Error(), "mounted") {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat(top + "/outside/file"); err != nil {
				t.Error(err)
			}
		})
	})
	for _, path := range []string{"", "/", ".", "..", "a/.."} {
		if err := RemoveAll(path); err == nil {
			t.Errorf("removed %q", path)
		}
	}
	check(t, RemoveAll(t.TempDir()+"/no/such/directory"))
}

// Somebody who is no root owns the tree but lacks the permission to write in it.
func TestRemoveAllUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root needs no permissions")
	}
	top := t.TempDir()
	check(t, exec.Command("sh", "-c", "cd "+top+"; mkdir -p tree/a/b; echo x > tree/a/b/c; chmod 000 tree/a/b; chmod 500 tree/a").Run())
	check(t, RemoveAll(top+"/tree"))
	if _, err := os.Lstat(top + "/tree"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
