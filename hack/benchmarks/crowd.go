package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// A crowded store has as many environments as a machine may gather in years, each with snapshots. Nothing that is done to
// one environment may notice the others.
const (
	few  = 10
	many = 1000
	// snapshotsEach is how many snapshots an environment of such a store has.
	snapshotsEach = 5
)

func inspecting(n int) string { return fmt.Sprintf("karapace inspect, %d environments", n) }
func executing(n int) string  { return fmt.Sprintf("karapace exec, %d environments", n) }
func listing(n int) string    { return fmt.Sprintf("karapace list, %d environments with snapshots", n) }
func collecting(n int) string { return fmt.Sprintf("karapace gc --dry-run, %d environments", n) }
func checking(n int) string   { return fmt.Sprintf("karapace verify-store, %d environments", n) }

// crowdRows compare a store of a thousand with one of ten. What looks at every environment takes at most as many times
// longer as there are more of them.
var crowdRows = []row{
	{What: inspecting(many), Against: inspecting(few), AtMost: 1.5},
	{What: executing(many), Against: executing(few), AtMost: 1.5},
	{What: listing(many), Against: listing(few), AtMost: 1.5},
	{What: collecting(many), Against: collecting(few), AtMost: many / few},
	{What: checking(many), Against: checking(few), AtMost: many / few},
}

func crowds(ctx context.Context, l *lab) *group {
	g := &group{name: "crowded stores", rounds: max(1, l.rounds/4)}
	for _, n := range []int{few, many} {
		store := l.path(fmt.Sprintf("crowd%d", n))
		names := []string{inspecting(n), executing(n), listing(n), collecting(n), checking(n)}
		if err := l.crowd(ctx, store, n); err != nil {
			for _, name := range names {
				g.missing(name, err)
			}
			continue
		}
		one := crowdName(n / 2)
		for i, args := range [][]string{{"inspect", one}, {"exec", one, "--", program}, {"list"}, {"gc", "--dry-run"}, {"verify-store"}} {
			g.add(names[i], append([]string{l.karapace, "--store", store}, args...)...)
		}
	}
	return g
}

func crowdName(i int) string { return "crowd" + strconv.Itoa(i) }

// crowd makes a store of n environments: the first one by building and committing, the others by multiplying it.
func (l *lab) crowd(ctx context.Context, store string, n int) error {
	l.progress(fmt.Sprintf("making a store of %d environments and %d snapshots", n, n*snapshotsEach))
	file, err := l.build(ctx, crowdName(0), crowdName(0), "--store", store)
	if err != nil {
		return err
	}
	for i := range snapshotsEach {
		for _, args := range [][]string{
			{"exec", crowdName(0), "-u", "0", "--", "/bin/sh", "-c", fmt.Sprintf("echo %d >/root/%d", i, i)},
			{"commit", crowdName(0), "-m", fmt.Sprint("number ", i)},
		} {
			if _, err := l.do(ctx, append([]string{l.karapace, "--store", store}, args...)...); err != nil {
				return err
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = l.do(ctx, l.mapped(self, multiplyMode, store, file, strconv.Itoa(n))...)
	return errors.Join(err, l.sync(ctx))
}

// multiplyMode has this program fill a store, as root of the user's namespace.
const multiplyMode = "multiply"

// multiply gives a store whose only environment is the first of a crowd all the others. Each has its own lock, record and
// files, as if it had been built and committed too.
func multiply(ctx context.Context, root, file string, n int) error {
	s, err := storage.Open(root)
	if err != nil {
		return err
	}
	first, err := s.Find(crowdName(0))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(s.EnvDir(first.EnvID, "karapace.lock"))
	if err != nil {
		return err
	}
	lock, err := manifest.ParseLock("karapace.lock", text)
	if err != nil {
		return err
	}
	for i := 1; i < n && err == nil; i++ {
		err = another(ctx, s, *first, *lock, file, i)
	}
	return err
}

func another(ctx context.Context, s *storage.Store, r storage.Record, lock manifest.Lock, file string, i int) error {
	value := crowdName(i)
	m, err := manifest.Parse(file, manifestText(r.BaseImage, value))
	if err != nil {
		return err
	}
	lock.Env = m.Env
	from := s.EnvDir(r.EnvID)
	r.EnvID, r.ManifestID, r.Name, r.Env = lock.ID(), m.PreliminaryID(), value, m.Env
	r.CreatedAt = r.CreatedAt.Add(time.Duration(i) * time.Second)
	record, err := storage.EncodeRecord(&r)
	if err != nil {
		return err
	}
	dir := s.EnvDir(r.EnvID)
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copy environment: %w: %s", err, out)
	}
	for name, data := range map[string][]byte{"karapace.lock": lock.Encode(), "record.json": record} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
		storage.WriteCopy(dir, name, data)
	}
	return os.Symlink(string(r.EnvID), s.Path("names", value))
}
