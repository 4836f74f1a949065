package storage

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

// Whether an environment runs, only its lock tells, and to ask a thousand takes long. So whoever starts one adds its id to one file,
// while nobody else can start it; and whoever has asked notes which of them ran, and how far the file had got before. Only these, and
// those that were added since, can run. A file that is too long, or is none, gives way to another, which its first line tells from
// all there were: then all are asked once.
const (
	startedName  = "started"
	startedMagic = "karapace started 1 "
	startedHead  = len(startedMagic) + 26 + 1 // with a text of crypto/rand
	// startedLimit is that of a file that gets more, in bytes. Those who write at one time may bring it beyond.
	startedLimit = 64 << 10
	runningName  = "running"
	runningMagic = "karapace running 2\n"
	// fewStarts may be told of that do not run before the file of those that do is written again.
	fewStarts = 16
)

// NoteStart is for who holds the lock of an environment that is about to run.
func (s *Store) NoteStart(id manifest.EnvID) error {
	if s.addStart(id) == nil {
		return nil
	}
	err := s.newStarts(startedLine(id))
	if err == nil {
		return nil
	}
	// On a full disk an environment can be entered. Without the file all are asked.
	if removed := unix.Unlink(s.Path(startedName)); removed == nil || errors.Is(removed, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "note the start in", Path: s.Path(startedName), Err: err}
}

func (s *Store) addStart(id manifest.EnvID) (err error) {
	fd, err := unix.Open(s.Path(startedName), unix.O_WRONLY|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < int64(startedHead) || st.Size >= startedLimit {
		return errUnfit
	}
	line := startedLine(id)
	if n, err := unix.Write(fd, []byte(line)); err != nil || n != len(line) {
		return errors.Join(err, unix.ENOSPC)
	}
	return nil
}

func startedLine(id manifest.EnvID) string {
	return fmt.Sprintf("%s %08x\n", id, crc32.ChecksumIEEE([]byte(id)))
}

// newStarts makes another file, also where the one there belongs to somebody else: root, who looked into a user's store, would keep all
// of the user's sessions out.
func (s *Store) newStarts(lines string) error {
	return s.replace(startedName, []byte(startedMagic+rand.Text()+"\n"+lines))
}

// starts are how far a file of starts, of this boot, had got.
type starts struct {
	boot, head string
	length     int // of the lines, in bytes
}

// starts reads the file; there are no lines where it is none.
func (s *Store) starts() (starts, string) {
	b, err := readBounded(s.Path(startedName), 2*startedLimit)
	if err != nil || len(b) < startedHead || !strings.HasPrefix(string(b), startedMagic) || b[startedHead-1] != '\n' {
		return starts{}, ""
	}
	return starts{boot(), string(b[:startedHead]), len(b) - startedHead}, string(b[startedHead:])
}

func (st starts) known() bool { return st.boot != "" && st.head != "" }

// since is what the lines of a later reading have more; not ok where another file is read, or one of them is damaged.
func (st starts) since(now starts, lines string) (ids []manifest.EnvID, ok bool) {
	if !st.known() || st.boot != now.boot || st.head != now.head || st.length > now.length {
		return nil, false
	}
	for line := range strings.Lines(lines[st.length:]) {
		text, _, _ := strings.Cut(line, " ")
		id := manifest.EnvID(text)
		if !IsID(text) || line != startedLine(id) {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// Running are those of many environments that ask says run. It asks about none that cannot. What could not be asked is not remembered.
func (s *Store) Running(all []manifest.EnvID, ask func(manifest.EnvID) (bool, error)) map[manifest.EnvID]bool {
	if len(all) < manySummaries {
		found, _ := running(all, ask)
		return found
	}
	now, lines := s.starts() // before any is asked
	then, ran := s.rememberedRunning()
	candidates, ok := then.since(now, lines)
	candidates = append(candidates, ran...)
	told := len(candidates)
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	if !ok {
		var err error
		if candidates, err = s.ids(); err != nil { // all may be of a time before now, and lack one that was started since
			found, _ := running(all, ask)
			return found
		}
	}
	found, err := running(candidates, ask)
	switch {
	case err != nil, ok && told <= len(found)+fewStarts:
	case now.known():
		s.rememberRunning(now, found)
	default:
		_ = s.newStarts("") // for the next list; that it cannot be written harms nobody
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

func (s *Store) rememberRunning(now starts, found map[manifest.EnvID]bool) {
	b := binary.AppendUvarint(appendText(appendText(nil, now.boot), now.head), uint64(now.length))
	for id := range found {
		b = appendText(b, string(id))
	}
	s.remember(runningName, runningMagic, b)
}

func (s *Store) rememberedRunning() (then starts, ids []manifest.EnvID) {
	d := summaryDecoder{rest: s.remembered(runningName, runningMagic)}
	then = starts{d.text(), d.text(), int(d.uvarint())}
	for d.rest != "" {
		ids = append(ids, manifest.EnvID(d.text()))
	}
	if d.failed || then.length < 0 || slices.ContainsFunc(ids, func(id manifest.EnvID) bool { return !IsID(string(id)) }) {
		return starts{}, nil
	}
	return then, ids
}
