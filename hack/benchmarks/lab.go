package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// lab is where everything is measured: a directory, the programs, and the user's id mapping.
type lab struct {
	dir          string
	home         string
	env          []string
	rounds       int
	karapace     string
	floor, hello string
	uids, gids   string // the mapping of the user's namespaces, as newuidmap takes it
	null, stderr *os.File
	archive      string            // a small root file system
	facts        map[string]string // what the figures were measured on
}

func newLab(o options) (*lab, error) {
	dir, err := filepath.Abs(o.work)
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, rounds: o.rounds, home: filepath.Join(dir, "home"), archive: filepath.Join(dir, "tiny.tar"),
		karapace: filepath.Join(o.bin, "karapace"), floor: o.floor, hello: o.hello}
	if os.Getuid() == 0 {
		return nil, errors.New("the floors are those of an unprivileged user: hack/bench runs this program as one")
	}
	if l.uids, l.gids, err = keepID(); err != nil {
		return nil, err
	}
	for _, d := range []string{l.home, l.path("run"), l.path("tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.home, "XDG_RUNTIME_DIR=" + l.path("run"), "TMPDIR=" + l.path("tmp"),
		"LC_ALL=C", "KARAPACE_STORE=" + l.path("store")}
	if v, ok := os.LookupEnv("KARAPACE_BACKEND_PATH"); ok {
		l.env = append(l.env, "KARAPACE_BACKEND_PATH="+v)
	}
	if l.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if l.stderr, err = os.OpenFile(l.path("stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	return l, writeTiny(l.archive)
}

func (l *lab) path(elem ...string) string { return filepath.Join(append([]string{l.dir}, elem...)...) }

func (l *lab) progress(text string) { fmt.Fprintln(os.Stderr, "bench:", text) }

// close empties the directory, also of what belongs to the user's subordinate ids.
func (l *lab) close() {
	ctx := context.Background() // when interrupted, too
	names, err := os.ReadDir(l.dir)
	var all []string
	for _, d := range names {
		all = append(all, d.Name())
	}
	if err = errors.Join(err, l.remove(ctx, all...)); err != nil {
		fmt.Fprintln(os.Stderr, "bench: clean up:", err)
	}
}

// remove removes what is in the directory by these names.
func (l *lab) remove(ctx context.Context, names ...string) error {
	argv := []string{"rm", "-rf", "--"}
	for _, n := range names {
		argv = append(argv, l.path(n))
	}
	_, err := l.do(ctx, l.mapped(argv...)...)
	return err
}

// mapped is the command line that runs another as root of the user's namespace.
func (l *lab) mapped(argv ...string) []string {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = argv[0]
	}
	return append([]string{l.floor, "map", l.uids, l.gids, path}, argv[1:]...)
}

// do runs a command that is not measured and gives what it printed.
func (l *lab) do(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = l.home, l.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(argv[0]), strings.Join(argv[1:], " "), err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	return stdout.Bytes(), nil
}

// keepID is the mapping under which Karapace works: the user is himself, and everybody else one of his subordinate ids.
func keepID() (uids, gids string, err error) {
	me, err := user.Current()
	if err != nil {
		return "", "", err
	}
	if uids, err = keep("/etc/subuid", me, os.Getuid()); err != nil {
		return "", "", err
	}
	gids, err = keep("/etc/subgid", me, os.Getgid())
	return uids, gids, err
}

func keep(file string, me *user.User, own int) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != me.Username && f[0] != me.Uid {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err := errors.Join(err1, err2); err != nil || count <= own {
			return "", fmt.Errorf("%s: the range of %s is no use here: %s", file, me.Username, strings.TrimSpace(line))
		}
		return fmt.Sprintf("0 %d %d %d %d 1 %d %d %d", start, own, own, own, own+1, start+own, count-own), nil
	}
	return "", fmt.Errorf("%s has no range for %s: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", file, me.Username, me.Username)
}

// machine says what the figures were measured on.
func (l *lab) machine(ctx context.Context) map[string]string {
	m := map[string]string{"user": strconv.Itoa(os.Getuid())}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m["load before"], _, _ = strings.Cut(string(b), " ")
	}
	if out, err := l.do(ctx, "nproc"); err == nil {
		m["cores"] = strings.TrimSpace(string(out))
	}
	if out, err := l.do(ctx, "stat", "--file-system", "--format=%T", l.dir); err == nil {
		m["file system"] = strings.TrimSpace(string(out))
	}
	for _, program := range []string{l.karapace, "crun", "podman", "bwrap", "tar"} {
		if out, err := l.do(ctx, program, "--version"); err == nil {
			m[filepath.Base(program)], _, _ = strings.Cut(string(out), "\n")
		}
	}
	return m
}

// sync waits until everything written so far is on disk.
func (l *lab) sync(ctx context.Context) error {
	_, err := l.do(ctx, "sync", "--file-system", l.dir)
	return err
}
