package fstree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// drift lists what Drift tells, one change a line.
func drift(t testing.TB, s Stacks) []string {
	t.Helper()
	var lines []string
	err := Drift(context.Background(), s, func(c *Change) error {
		line := fmt.Sprintf("%c %s /%s", c.Op, c.Kind, c.Path)
		if c.Size > 0 {
			line += fmt.Sprintf(" %d", c.Size)
		}
		if c.Link != "" {
			line += " = /" + c.Link
		}
		if len(c.What) > 0 {
			line += " " + strings.Join(c.What, ",")
		}
		if c.Op == Modified && c.OldKind != c.Kind {
			line += " was " + c.OldKind
		}
		lines = append(lines, line)
		return nil
	})
	check(t, err)
	return lines
}

func wantDrift(t testing.TB, s Stacks, want ...string) {
	t.Helper()
	if got := drift(t, s); !slices.Equal(got, want) {
		t.Errorf("drift is\n\t%q\nwant\n\t%q", got, want)
	}
}

// What programs do in an overlay is told as it is, whatever marks the kernel makes of it.
func TestDrift(t *testing.T) {
	cases := []struct {
		name, script string
		want         []string
	}{
		{"nothing", `true`, nil},
		{"new file", `echo new > etc/new`, []string{"+ file /etc/new 4"}},
		{"new file made and removed", `echo new > etc/new; rm etc/new`, nil},
		{"new directories", `mkdir -p d/e; echo x > d/e/x`, []string{"+ directory /d", "+ directory /d/e", "+ file /d/e/x 2"}},
		{"other size", `echo others > etc/conf`, []string{"~ file /etc/conf 7 content"}},
		{"other bytes of the same size", `echo fnoc > etc/conf`, []string{"~ file /etc/conf 5 content"}},
		{"other bytes of the same size and time", `touch -r etc/conf t; echo fnoc > etc/conf; touch -r t etc/conf; rm t`, []string{"~ file /etc/conf 5 content"}},
		{"rewritten the same", `cp etc/conf t; mv t etc/conf`, nil},
		{"removed and made the same", `rm etc/conf; echo conf > etc/conf`, nil},
		{"touched", `touch etc/conf usr/bin etc usr/bin/a`, nil},
		{"mode of a file", `chmod 4711 etc/conf`, []string{"~ file /etc/conf 5 mode"}},
		{"mode and bytes", `echo fnoc > etc/conf; chmod 0 etc/conf`, []string{"~ file /etc/conf 5 content,mode"}},
		{"mode there and back", `chmod 700 etc; chmod 755 etc; chmod 600 etc/conf; chmod 644 etc/conf`, nil},
		{"mode of a directory", `chmod 1777 empty`, []string{"~ directory /empty mode"}},
		{"mode of the root", `chmod 700 .`, []string{"~ directory / mode"}},
		{"owner", `chown 7:8 etc/conf empty`, []string{"~ directory /empty owner", "~ file /etc/conf 5 owner"}},
		{"owner of a link", `chown -h 7:8 usr/bin/c`, []string{"~ symlink /usr/bin/c owner"}},
		{"file removed", `rm etc/conf`, []string{"- file /etc/conf 5"}},
		{"link removed", `rm usr/bin/c`, []string{"- symlink /usr/bin/c"}},
		{"directory removed", `rm -r usr/share/doc/one`, []string{"- directory /usr/share/doc/one", "- file /usr/share/doc/one/x 2", "- file /usr/share/doc/one/y 2"}},
		{"directory made anew", `rm -r usr/share/doc/one; mkdir usr/share/doc/one; echo n > usr/share/doc/one/n`,
			[]string{"+ file /usr/share/doc/one/n 2", "- file /usr/share/doc/one/x 2", "- file /usr/share/doc/one/y 2"}},
		{"directory made anew with what was in it", `cp -a usr/share/doc/one t; rm -r usr/share/doc/one; mkdir usr/share/doc/one; cp t/x usr/share/doc/one; rm -r t`,
			[]string{"- file /usr/share/doc/one/y 2"}},
		{"opaque below opaque", `rm -r usr/share/doc; mkdir -p usr/share/doc/two; echo z > usr/share/doc/two/z`,
			[]string{"- directory /usr/share/doc/one", "- file /usr/share/doc/one/x 2", "- file /usr/share/doc/one/y 2"}},
		{"directory becomes link", `rm -r usr/share/doc/two; ln -s one usr/share/doc/two`,
			[]string{"~ symlink /usr/share/doc/two type was directory", "- file /usr/share/doc/two/z 2"}},
		{"file becomes directory", `rm etc/conf; mkdir etc/conf; echo i > etc/conf/i`, []string{"~ directory /etc/conf type was file", "+ file /etc/conf/i 2"}},
		{"file becomes FIFO", `rm etc/conf; mkfifo etc/conf`, []string{"~ fifo /etc/conf type was file"}},
		{"directory moved", `mv usr/share/doc/two usr/share/doc/new`,
			[]string{"+ directory /usr/share/doc/new", "+ file /usr/share/doc/new/z 2", "- directory /usr/share/doc/two", "- file /usr/share/doc/two/z 2"}},
		{"link changed", `ln -sfn b usr/bin/c`, []string{"~ symlink /usr/bin/c link"}},
		{"link made the same", `rm usr/bin/c; ln -s a usr/bin/c`, nil},
		{"hard links", `echo h > h1; ln h1 h3; ln h1 h2`, []string{"+ file /h1 2", "+ hardlink /h2 = /h1", "+ hardlink /h3 = /h1"}},
		{"hard links removed", `rm usr/bin/a usr/bin/b`, []string{"- file /usr/bin/a 2", "- hardlink /usr/bin/b = /usr/bin/a"}},
		{"one of two hard links written", `echo longer > usr/bin/b`, []string{"~ file /usr/bin/b 7 content"}},
		{"hard links no longer linked", `cp usr/bin/b t; mv t usr/bin/b; chmod 755 usr/bin/b`, nil},
		{"hard link to an old file", `ln etc/conf etc/conf2`, []string{"+ file /etc/conf2 5"}},
		{"FIFO", `mkfifo f; chmod 600 f`, []string{"+ fifo /f"}},
		{"names", `touch "$(printf 'a\nb')" "$(printf '\377')" .wh.x`, []string{"+ file /.wh.x", "+ file /a\nb", "+ file /\xff"}},
		{"links out", `ln -s /etc/shadow etc/out; rm -r empty; ln -s / empty`, []string{"~ symlink /empty type was directory", "+ symlink /etc/out"}},
		{"nobody may read it", `mkdir -m 0 d; echo x > d/x; chmod 0 d/x etc/conf`, []string{"+ directory /d", "+ file /d/x 2", "~ file /etc/conf 5 mode"}},
	}
	nstest.Both(t, func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				lower := lowerTree(t)
				upper := overlay(t, c.script, lower)
				wantDrift(t, Stacks{Now: []string{upper, lower}, Was: []string{lower}}, c.want...)
			})
		}
	})
}

// Attributes count as far as a layer keeps them.
func TestDriftOfAttributes(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower := lowerTree(t)
		upper := overlay(t, `touch etc/conf etc/passwd; chmod 755 empty var`, lower)
		set := func(name, attr string) { check(t, unix.Setxattr(filepath.Join(upper, name), attr, []byte("1"), 0)) }
		set("etc/conf", "user.x")
		set("empty", "user.x")
		set("etc/passwd", "user.containers.x")
		set("var", "user.overlay.impure")
		wantDrift(t, Stacks{Now: []string{upper, lower}, Was: []string{lower}}, "~ directory /empty xattr", "~ file /etc/conf 5 xattr")
	})
}

// States of several layers are compared as they are seen, and in both directions.
func TestDriftOfStacks(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		base := lowerTree(t)
		layer := overlay(t, `rm -r usr/share/doc/one etc/hostname; mkdir usr/share/doc/one; echo p > usr/share/doc/one/p; mkdir opt; echo o > opt/o; echo 12 > etc/conf`, base)
		mustNormalise(t, layer, NormaliseOptions{Epoch: epoch, Lowers: []string{base}})
		upper := overlay(t, `rm -r opt; echo x > usr/share/doc/one/x; echo conf > etc/conf; echo host > etc/hostname`, layer, base)
		built := []string{layer, base}
		wantDrift(t, Stacks{Now: built, Was: built})
		wantDrift(t, Stacks{Now: []string{upper, layer, base}, Was: built},
			"~ file /etc/conf 5 content", "+ file /etc/hostname 5", "- directory /opt", "- file /opt/o 2", "+ file /usr/share/doc/one/x 2")
		wantDrift(t, Stacks{Now: []string{upper, layer, base}, Was: []string{base}}, "+ file /usr/share/doc/one/p 2", "- file /usr/share/doc/one/y 2")
		wantDrift(t, Stacks{Now: built, Was: []string{upper, layer, base}},
			"~ file /etc/conf 3 content", "- file /etc/hostname 5", "+ directory /opt", "+ file /opt/o 2", "- file /usr/share/doc/one/x 2")
	})
}

// What Karapace puts beside the built state is no drift, as it is and when it is gone; what becomes of it is.
func TestDriftAside(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		base := lowerTree(t)
		aside := t.TempDir()
		check(t, os.Chmod(aside, 0o755))
		runIn(t, aside, `mkdir -p etc home/me tmp; chmod 1777 tmp; cp `+base+`/etc/passwd etc; echo me >> etc/passwd; : > etc/resolv.conf`)
		for script, want := range map[string][]string{
			`touch etc/passwd home/me tmp etc/resolv.conf`:     nil,
			`rm -r etc/resolv.conf home tmp`:                   nil,
			`echo root > etc/passwd`:                           nil,
			`echo you >> etc/passwd; touch tmp/x home/me/y`:    {"~ file /etc/passwd 12 content", "+ file /home/me/y", "+ file /tmp/x"},
			`chmod 600 etc/passwd`:                             {"~ file /etc/passwd 8 mode"},
			`chmod 700 home/me`:                                {"+ directory /home/me"},
			`rm -r tmp; ln -s home tmp`:                        {"+ symlink /tmp"},
			`rm etc/passwd`:                                    {"- file /etc/passwd 5"},
			`mkdir home/you; chmod 700 home; echo > etc/hosts`: {"+ file /etc/hosts 1", "+ directory /home", "+ directory /home/you"},
		} {
			upper := overlay(t, script, aside, base)
			wantDrift(t, Stacks{Now: []string{upper, base}, Was: []string{base}, Aside: []string{aside}}, want...)
		}
	})
}

// A tree that is written to all the time is walked to its end, and what stands still in it is told.
func TestDriftOfMovingTree(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		lower, upper := t.TempDir(), t.TempDir()
		for i := range 50 {
			write(t, filepath.Join(lower, fmt.Sprintf("d%02d/f", i)), strings.Repeat("x", 1<<16))
		}
		write(t, filepath.Join(upper, "still"), "here")
		cmd := exec.Command("/bin/sh", "-c", `while :; do for i in $(seq -w 0 49); do
			mkdir d$i; echo y > d$i/f; mkdir d$i/g; echo z > d$i/g/h; mv d$i/f d$i/e; rm -r d$i; ln -s / d$i; rm d$i; done; done`)
		cmd.Dir = upper
		check(t, cmd.Start())
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		for range 100 {
			if got := drift(t, Stacks{Now: []string{upper, lower}, Was: []string{lower}}); !slices.Contains(got, "+ file /still 4") {
				t.Fatalf("drift is %q", got)
			}
		}
	})
}

// An error of the receiver, and the end of the context, end the walk.
func TestDriftEnds(t *testing.T) {
	dir, mine := t.TempDir(), errors.New("enough")
	write(t, filepath.Join(dir, "a/b"), "")
	s := Stacks{Now: []string{dir}, Was: []string{t.TempDir()}}
	if err := Drift(context.Background(), s, func(*Change) error { return mine }); err != mine {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Drift(ctx, s, func(*Change) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	deep, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	defer func() { unix.Close(deep); check(t, RemoveAll(dir)) }()
	for range 25 {
		check(t, unix.Mkdirat(deep, long, 0o755))
		next, err := openDir(deep, long)
		check(t, err)
		unix.Close(deep)
		deep = next
	}
	var ee *EntryError
	if err := Drift(context.Background(), s, func(*Change) error { return nil }); !errors.As(err, &ee) {
		t.Errorf("a path that nobody can name gives %v", err)
	}
}
