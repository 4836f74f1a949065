package storage

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

// Whether an environment runs, only its lock tells, and to ask a thousand takes long. So whoever starts one changes the times of one
// file, while nobody else can start it; and whoever has asked all notes which of them ran, and what the file was before. While the
// file is as it was, no other has been started, and only these need be asked.
const (
	startedName  = "started"
	runningName  = "running"
	runningMagic = "karapace running 1\n"
)

// NoteStart is for who holds the lock of an environment that is about to run.
func (s *Store) NoteStart() error {
	fd, err := s.openStarted()
	if err == nil {
		err = errors.Join(unix.UtimesNanoAt(fd, "", nil, unix.AT_EMPTY_PATH), unix.Close(fd))
	}
	if err != nil {
		return &os.PathError{Op: "note the start in", Path: s.Path(startedName), Err: err}
	}
	return nil
}

// openStarted makes another file where the one there belongs to somebody else: root, who looked into a user's store, would keep all of
// the user's sessions out. That it is another says as much as another time.
func (s *Store) openStarted() (int, error) {
	fd, err := s.tryStarted()
	if !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	if removed := os.Remove(s.Path(startedName)); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		return -1, err
	}
	return s.tryStarted()
}

func (s *Store) tryStarted() (int, error) {
	return unix.Open(s.Path(startedName), unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

// Running are those of many environments that ask says run. It asks about none that cannot. What could not be asked is not remembered.
func (s *Store) Running(all []manifest.EnvID, ask func(manifest.EnvID) (bool, error)) map[manifest.EnvID]bool {
	if len(all) < manySummaries {
		found, _ := running(all, ask)
		return found
	}
	now := generation{boot(), identify(unix.AT_FDCWD, s.Path(startedName))}
	if then, candidates := s.rememberedRunning(); now.is(then) {
		found, _ := running(candidates, ask)
		return found
	}
	present, err := s.ids() // all may be of a time before now, and lack one that was started since
	if err != nil {
		found, _ := running(all, ask)
		return found
	}
	found, err := running(present, ask)
	if err != nil {
		return found
	}
	if now.known() {
		s.rememberRunning(now, found)
	} else if fd, err := s.openStarted(); err == nil { // nothing was ever started, or something was just now
		unix.Close(fd)
	}
	return found
}

func running(ids []manifest.EnvID, ask func(manifest.EnvID) (bool, error)) (map[manifest.EnvID]bool, error) {
	run, errs := make([]bool, len(ids)), make([]error, len(ids))
	eachOf(len(ids), func(i int) { run[i], errs[i] = ask(ids[i]) })
	found := map[manifest.EnvID]bool{}
	for i, id := range ids {
		if run[i] {
			found[id] = true
		}
	}
	return found, errors.Join(errs...)
}

func (s *Store) rememberRunning(now generation, found map[manifest.EnvID]bool) {
	b := now.append(nil)
	for id := range found {
		b = appendText(b, string(id))
	}
	s.remember(runningName, runningMagic, b)
}

func (s *Store) rememberedRunning() (then generation, ids []manifest.EnvID) {
	d := summaryDecoder{rest: s.remembered(runningName, runningMagic)}
	then = d.generation()
	for d.rest != "" {
		ids = append(ids, manifest.EnvID(d.text()))
	}
	if d.failed || slices.ContainsFunc(ids, func(id manifest.EnvID) bool { return !IsID(string(id)) }) {
		return generation{}, nil
	}
	return then, ids
}
