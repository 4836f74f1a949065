package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/cgroup"
)

const (
	recordName   = "record.json"
	documentName = "config.json"
	startName    = "start"
)

// maxDocument is the size of the largest document that is read, in bytes.
const maxDocument = 4 << 20

// record is what is known of a container since it was created.
type record struct {
	Pid         int               `json:"pid"`   // 0 while it is being created
	Start       uint64            `json:"start"` // of the process, in the kernel's ticks since boot
	Bundle      string            `json:"bundle"`
	Root        string            `json:"root"`
	Created     time.Time         `json:"created"`
	Owner       uint32            `json:"owner"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Join        uintptr           `json:"join"`    // namespaces in which it is not where its creator is, but for the user namespace
	UserNS      bool              `json:"user_ns"` // the same for the user namespace
	Groups      cgroup.Place      `json:"groups"`
	Hooks       bool              `json:"hooks,omitempty"`   // the document has hooks
	Process     bool              `json:"process,omitempty"` // the document has a process
	Unmount     string            `json:"unmount,omitempty"` // what was mounted in the creator's own mount namespace
}

// container is the opened directory of one.
type container struct {
	store  *Store
	id     string
	dir    int  // descriptor
	locked bool // by this one
	rec    *record
}

func (s *Store) path(id string) string { return filepath.Join(s.Root, id) }

// open opens a container's directory and reads its record, which is nil while the container is being created.
func (s *Store) open(id string) (*container, error) {
	c, err := s.enter(id)
	if err != nil {
		return nil, err
	}
	return c.orClose(c.read())
}

// enter opens a container's directory.
func (s *Store) enter(id string) (*container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &container{store: s, id: id}
	var err error
	if c.dir, err = unix.Open(s.path(id), unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == unix.ENOENT {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path(id), err)
	}
	return c.orClose(c.owned())
}

func (c *container) orClose(err error) (*container, error) {
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// owned refuses a directory that somebody else could have filled.
func (c *container) owned() error {
	var st unix.Stat_t
	if err := unix.Fstat(c.dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", c.store.path(c.id), err)
	}
	if st.Uid != uint32(unix.Geteuid()) || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s belongs to uid %d with mode %o: what is in it is not believed", c.store.path(c.id), st.Uid, st.Mode&0o777)
	}
	return nil
}

func (c *container) read() error {
	rec := new(record)
	err := c.load(recordName, rec)
	var invalid *backends.Error
	switch {
	case err == nil:
		c.rec = rec
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ELOOP) || errors.As(err, &invalid):
		return &damagedError{c.id, err}
	}
	return err
}

// damagedError says that a record tells nothing, however often it is read.
type damagedError struct {
	id    string
	cause error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("%v: the record is damaged; delete --force %s removes what there is", e.cause, e.id)
}

func (e *damagedError) Unwrap() error { return e.cause }

// lock waits until nobody else changes the container.
func (c *container) lock() error {
	for {
		err := unix.Flock(c.dir, unix.LOCK_EX)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("lock %s: %w", c.store.path(c.id), err)
		}
	}
	var own, now unix.Stat_t
	if unix.Fstat(c.dir, &own) != nil || unix.Lstat(c.store.path(c.id), &now) != nil || own.Ino != now.Ino {
		return fmt.Errorf("%s: %w", c.id, ErrNotFound) // it was deleted meanwhile
	}
	c.locked = true
	return nil
}

// openLocked is enter and lock, and reads the record then.
func (s *Store) openLocked(id string) (*container, error) {
	c, err := s.enterLocked(id)
	if err != nil {
		return nil, err
	}
	return c.orClose(c.read())
}

// enterLocked is enter and lock.
func (s *Store) enterLocked(id string) (*container, error) {
	c, err := s.enter(id)
	if err != nil {
		return nil, err
	}
	return c.orClose(c.lock())
}

func (c *container) close() { unix.Close(c.dir) }

// load reads a JSON file of the container's directory.
func (c *container) load(name string, v any) error {
	fd, err := unix.Openat(c.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s/%s: %w", c.store.path(c.id), name, err)
	}
	return decode(os.NewFile(uintptr(fd), filepath.Join(c.store.path(c.id), name)), v)
}

// decode reads a JSON document from a regular file of a bounded size, and closes it.
func decode(f *os.File, v any) error {
	data, err := contents(f)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return invalid("%s: %w", f.Name(), err)
	}
	return nil
}

// contents reads a regular file of a bounded size, and closes it.
func contents(f *os.File) ([]byte, error) {
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxDocument {
		return nil, invalid("%s is no regular file of at most %d bytes", f.Name(), maxDocument)
	}
	return io.ReadAll(io.LimitReader(f, maxDocument))
}

// hooks are the document's, an empty set when it has none.
func (c *container) hooks() (*rspec.Hooks, error) {
	if !c.rec.Hooks {
		return new(rspec.Hooks), nil
	}
	spec := new(rspec.Spec)
	if err := c.load(documentName, spec); err != nil {
		return nil, err
	}
	if spec.Hooks == nil {
		return new(rspec.Hooks), nil
	}
	return spec.Hooks, nil
}

// save writes a JSON file of the container's directory, whole or not at all.
func (c *container) save(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return c.write(name, data)
}

func (c *container) write(name string, data []byte) error {
	fd, err := unix.Openat(c.dir, name+".new", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = unix.Renameat(c.dir, name+".new", c.dir, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (c *container) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(c.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func (c *container) remove(name string) { unix.Unlinkat(c.dir, name, 0) }

// status asks the kernel.
func (c *container) status() rspec.ContainerState {
	switch {
	case c.rec == nil || c.rec.Pid == 0:
		// Nobody creates it while this one has the lock, which the question would turn into a shared one.
		if !c.locked && unix.Flock(c.dir, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK {
			return rspec.StateCreating
		}
		return rspec.StateStopped
	case !alive(c.rec.Pid, c.rec.Start):
		return rspec.StateStopped
	case c.has(startName):
		return rspec.StateCreated
	}
	return rspec.StateRunning
}

func (c *container) info() (*Info, error) {
	i := &Info{State: rspec.State{Version: rspec.Version, ID: c.id, Status: c.status()}}
	if c.rec == nil {
		return i, nil
	}
	i.Bundle, i.Annotations, i.Rootfs, i.Owner = c.rec.Bundle, c.rec.Annotations, c.rec.Root, c.rec.Owner
	i.Created = c.rec.Created.Format(time.RFC3339Nano)
	if i.Status != rspec.StateStopped {
		i.Pid = c.rec.Pid
	}
	return i, nil
}

// pidfd opens the first process; an error means that it has ended.
func (c *container) pidfd() (int, error) {
	if c.rec == nil || !alive(c.rec.Pid, c.rec.Start) {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(c.rec.Pid, 0)
	if err != nil {
		return -1, err
	}
	if !alive(c.rec.Pid, c.rec.Start) { // between the two it could have become another's
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// alive says whether a process lives and is the one that began at start. A zombie does not live.
func alive(pid int, start uint64) bool {
	state, began := process(pid)
	return began != 0 && began == start && state != 'Z' && state != 'X'
}

// process reads a process's state and start time (proc(5), stat fields 3 and 22), 0 when there is none.
func process(pid int) (state byte, start uint64) {
	if pid <= 0 {
		return 0, 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	// The second field, in parentheses, is the process's own choice and may contain anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return 0, 0
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, 0
	}
	return fields[0][0], start
}
