// Package engine is what the commands do: one file per verb, sequence and undo, nothing else.
//
// A verb takes a context and an options struct and returns a result and an error. The engine prints nothing, reads no
// environment variable, and knows no command line: all it needs of its surroundings is in Engine. Work on layers is done by
// karapace-store, which the engine starts inside the user namespace; entering an environment needs neither that nor
// containers/storage.
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Engine is the surroundings of every verb.
type Engine struct {
	StoreRoot    string
	Program      string // the karapace binary
	StoreProgram string // the karapace-store binary
	User         User
	Getenv       func(string) string
	Cwd          string   // absolute
	ConfigFile   string   // the user's configuration; need not exist
	ImageServers []string // URLs; none: those of the configuration
	AptDir       string   // the host's apt configuration
	BackendDirs  []string
	Words        []string // the command line so far as others may see it: they are told for whom they wait
	CertDirs     []string // of registries' certificates, see containers-certs.d(5)
	Overlay      string   // what builds mount with: "kernel", "fuse", or empty for what works
	Progress     Progress
}

// User is who runs the program.
type User struct {
	UID, GID          int
	Name, Home, Shell string
	Umask             uint32
}

// Progress is told how long work goes.
type Progress interface {
	Step(name string)                                   // a step began
	Transfer(what string, files int, done, total int64) // bytes; total is 0 when unknown
	TransferDone(what string, files int, done int64)    // the transfer ended
	Note(text string)                                   // something the user should know
}

// Silent is progress that nobody is told.
type Silent struct{}

// Step does nothing.
func (Silent) Step(string) {}

// Transfer does nothing.
func (Silent) Transfer(string, int, int64, int64) {}

// TransferDone does nothing.
func (Silent) TransferDone(string, int, int64) {}

// Note does nothing.
func (Silent) Note(string) {}

// store opens the store; none at all means that there is nothing in it.
func (e *Engine) store() (*storage.Store, error) {
	s, err := storage.Open(e.StoreRoot)
	switch {
	case errors.Is(err, storage.ErrNoStore):
		return nil, err
	case err != nil:
		return nil, storeFailure(err)
	}
	s.Waiting = e.waiting
	return s, nil
}

// newStore opens the store, making it where there is none.
func (e *Engine) newStore() (*storage.Store, error) {
	s, err := storage.Create(e.StoreRoot)
	if err != nil {
		return nil, storeFailure(err)
	}
	s.Waiting = e.waiting
	return s, nil
}

// waiting tells for whom this process waits.
func (e *Engine) waiting(h storage.Holder) { e.Progress.Step("wait for " + h.String()) }

// waitingToEnter tells for whom a session waits: whoever is starting the environment.
func (e *Engine) waitingToEnter(fd int) {
	if fd < 0 {
		e.Progress.Step("wait for the end of the environment's last session")
		return
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return
	}
	defer f.Close()
	for _, h := range storage.Holders(f) {
		e.waiting(h)
	}
}

// find reads the record that ref names; an empty ref means the environment of the nearest karapace.lock.
func (e *Engine) find(ref string) (*storage.Store, *storage.Record, error) {
	if ref == "" {
		id, err := e.nearestLock()
		if err != nil {
			return nil, nil, err
		}
		ref = string(id)
	}
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return nil, nil, notFound(&storage.NotFoundError{Ref: ref})
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := s.Find(ref)
	return s, r, storeFailure(err)
}

func notFound(err *storage.NotFoundError) error {
	if len(err.Matches) > 1 {
		return failure.New(failure.General, err, "give more digits")
	}
	return failure.New(failure.General, err, "karapace list shows what there is; karapace build makes one")
}

func storeFailure(err error) error {
	var gone *storage.NotFoundError // while the command waited
	if errors.As(err, &gone) {
		return notFound(gone)
	}
	if disk := failure.Disk(err); disk != nil {
		return disk
	}
	hint := ""
	var se *storage.Error
	if errors.As(err, &se) {
		hint = se.Hint
	}
	return failure.New(failure.Store, err, hint)
}

// nearestLock tells the environment of the nearest lock file.
func (e *Engine) nearestLock() (manifest.EnvID, error) {
	path, text, err := e.nearestLockFile()
	if err != nil {
		return "", err
	}
	if id, ok := manifest.PeekLock(text); ok {
		return id, nil
	}
	_, err = readLock(path)
	return "", err
}

// nearestLockFile finds karapace.lock in the working directory or above.
func (e *Engine) nearestLockFile() (path string, text []byte, err error) {
	for dir := e.Cwd; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "karapace.lock")
		text, err := readFile(path, lockLimit)
		switch {
		case err == nil:
			return path, text, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", nil, failure.New(failure.Lock, err, "")
		case dir == filepath.Dir(dir):
			return "", nil, failure.New(failure.Usage, errors.New("no environment named, and no karapace.lock in this directory or above"),
				"name one (karapace list), or go to the directory of a project")
		}
	}
}

// readFile reads a small regular file of the user's.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
