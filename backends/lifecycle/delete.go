package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
)

// Delete is the delete operation. With force, a container that has not ended is ended, and one that is not there is none
// to complain of.
func (s *Store) Delete(ctx context.Context, id string, force bool) error {
	c, err := s.enterLocked(id)
	if errors.Is(err, ErrNotFound) && force {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.readDespite(force); err != nil {
		return err
	}
	if status := c.status(); c.rec != nil && status != rspec.StateStopped {
		if !force {
			return fmt.Errorf("%s cannot be deleted: it is %s", id, status)
		}
		c.kill()
	}
	if c.rec == nil { // left by a create that was killed, or damaged
		c.discard(cgroup.Place{}, "")
		return nil
	}
	hooks, err := c.hooks()
	if err != nil && !force {
		return err
	}
	if err != nil {
		s.Warn(err.Error())
		hooks = new(rspec.Hooks)
	}
	c.discard(c.rec.Groups, c.rec.Unmount)
	c.poststop(ctx, hooks)
	return nil
}

// readDespite reads the record, where force takes one that is damaged for none.
func (c *container) readDespite(force bool) error {
	err := c.read()
	var damaged *damagedError
	if errors.As(err, &damaged) && force {
		c.store.Warn(fmt.Sprintf("%s: its processes and control groups are not known, and left where there are any: %v", c.id, damaged.cause))
		return nil
	}
	return err
}

// discard removes what belongs to a container whose first process has ended.
func (c *container) discard(groups cgroup.Place, unmount string) {
	if unmount != "" {
		// It may be gone with whoever had it in view.
		unix.Unmount(unmount, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	left := groups.Remove()
	for i := 0; i < 100 && len(left) > 0; i++ {
		// A group whose processes are not all gone: those that left the first one's pid namespace, or had none.
		if pids, err := groupPids(groups); err == nil && i%10 == 9 {
			for _, pid := range pids {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(10 * time.Millisecond)
		left = groups.Remove()
	}
	if len(left) > 0 {
		c.store.Warn(fmt.Sprintf("control groups of %s are left, with processes or groups of others in them: remove %s when those are gone", c.id, strings.Join(left, ", ")))
	}
	for _, name := range [...]string{startName, documentName, documentName + ".new", recordName + ".new", recordName} {
		c.remove(name)
	}
	if err := unix.Rmdir(c.store.path(c.id)); err != nil && err != unix.ENOENT {
		c.store.Warn(fmt.Sprintf("remove %s: %v", c.store.path(c.id), err))
	}
}

// List lists the containers of the store, by name.
func (s *Store) List() ([]*Info, error) {
	entries, err := os.ReadDir(s.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*Info
	for _, e := range entries {
		i, err := s.State(e.Name())
		if err != nil {
			if !errors.Is(err, ErrNotFound) {
				s.Warn(err.Error())
			}
			continue
		}
		list = append(list, i)
	}
	return list, nil
}
