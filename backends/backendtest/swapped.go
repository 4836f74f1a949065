package backendtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A source of a mount is a path that has been resolved, and decided upon, before the backend gets it. What has become a symbolic
// link since, itself or on its way, is never followed: as a state, and while it flips during starts.
func testSwapped(t *testing.T, s *suite) {
	for name, c := range map[string]struct{ swap, source string }{
		"the source": {"given", "given"}, "its parent": {"given", "given/below"}, "a file": {"given", "given/file"},
	} {
		for _, options := range [][]string{{"rbind"}, {"bind"}, {"rbind", "ro"}} {
			b, secret := swapBox(t, s)
			source := filepath.Join(b.dir, c.source)
			must(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(b.dir, c.swap), unix.AT_FDCWD, secret, unix.RENAME_EXCHANGE))
			b.c.Spec.Mounts = append(b.c.Spec.Mounts, rspec.Mount{Type: "bind", Source: source, Destination: "/given", Options: options})
			r := b.run("list", "/")
			if r.err == nil || !strings.Contains(r.err.Error(), source) {
				t.Errorf("%s swapped for a link, %v: code %d, error %v, %s", name, options, r.ShellCode(), r.err, r.stdout)
			}
		}
	}
	b, link := swapBox(t, s)
	given := filepath.Join(b.dir, "given")
	b.c.Spec.Mounts = append(b.c.Spec.Mounts, rspec.Mount{Type: "bind", Source: given, Destination: "/given", Options: []string{"rbind"}})
	stop, flipped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				flipped <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, given, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
				flipped <- err
				return
			}
		}
	}()
	for range 10 {
		if r := b.run("read", "/given/file"); r.stdout != "given" && (r.stdout != "" || r.err == nil) {
			t.Errorf("a source that flips: read %q, code %d, error %v, %s", r.stdout, r.ShellCode(), r.err, r.stderr)
		}
	}
	close(stop)
	must(t, errors.Join(<-flipped))
}

// A file that is given may be replaced while a session starts, as people's programs and other sessions write files. The kernel mounts none
// that has lost its name since it was opened.
func testFilesReplaced(t *testing.T, s *suite) {
	if !s.opts.Reopens {
		t.Skip("this backend does not open files again")
	}
	b := s.newBox(t)
	given := filepath.Join(b.dir, "given")
	replace := func() error {
		return errors.Join(os.WriteFile(given+".new", []byte("given"), 0o644), os.Rename(given+".new", given))
	}
	must(t, replace())
	b.c.Spec.Mounts = append(b.c.Spec.Mounts, rspec.Mount{Type: "bind", Source: given, Destination: "/file", Options: []string{"bind"}})
	b.c.Rootfs.Volatile = true // the kernel refuses to mount such a one again
	begun := time.Now()
	b.run("read", "/file")
	every := max(5*time.Millisecond, 3*time.Since(begun)) // to be mounted at all, a file has to last as long as that takes
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(every):
			}
			if err := replace(); err != nil {
				stopped <- err
				return
			}
		}
	}()
	runs := 100
	if !s.opts.Fast {
		runs = 40
	}
	for range runs {
		if r := b.run("read", "/file"); r.stdout != "given" {
			t.Errorf("read %q, code %d, error %v, %s", r.stdout, r.ShellCode(), r.err, r.stderr)
		}
	}
	close(stop)
	must(t, <-stopped)
	must(t, s.rt.Delete(t.Context(), &b.c))
	if entries, err := os.ReadDir(b.c.State); err != nil || len(entries) != 0 {
		t.Errorf("the starts that failed have left %v, %v", entries, err)
	}
}

// A source may be above all that a container is made in, as a home is above a store. What is mounted there for the making is not to
// be seen inside: not the host's files without what covers them.
func testAbove(t *testing.T, s *suite) {
	b := s.newBox(t)
	b.c.Spec.Mounts = append(b.c.Spec.Mounts, rspec.Mount{Type: "bind", Source: b.dir, Destination: "/above", Options: []string{"rbind"}})
	r := b.run("read", "/proc/self/mountinfo")
	if r.err != nil || !strings.Contains(r.stdout, " /above ") {
		t.Fatalf("code %d, error %v, %s%s", r.ShellCode(), r.err, r.stdout, r.stderr)
	}
	for line := range strings.Lines(r.stdout) {
		if strings.Contains(line, " /above/") {
			t.Errorf("there is the mount %s", line)
		}
	}
}

// swapBox has a directory that a mount is given and, beside it, a link to what must not be seen.
func swapBox(t *testing.T, s *suite) (b *box, link string) {
	b = s.newBox(t)
	for _, name := range []string{"given", "secret"} {
		must(t, os.MkdirAll(filepath.Join(b.dir, name, "below"), 0o755))
		must(t, os.WriteFile(filepath.Join(b.dir, name, "file"), []byte(name), 0o644))
	}
	link = filepath.Join(b.dir, "link")
	must(t, os.Symlink("secret", link))
	return b, link
}
