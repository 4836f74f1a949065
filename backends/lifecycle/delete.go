package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// Kill is the kill operation: a signal to the first process, or to everything in the container.
func (s *Store) Kill(id string, sig unix.Signal, all bool) error {
	c, err := s.open(id)
	if err != nil {
		return err
	}
	defer c.close()
	pidfd, err := c.pidfd()
	if err != nil {
		if all { // which is called to make sure
			return c.signalGroup(sig)
		}
		return fmt.Errorf("%s cannot be signalled: container not running", id)
	}
	defer unix.Close(pidfd)
	if !all {
		if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil {
			return fmt.Errorf("signal %s: %w", id, err)
		}
		return nil
	}
	pids, err := nsproc.Pids(c.rec.Pid)
	if err != nil {
		return c.signalGroup(sig)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d of %s: %w", pid, id, err)
		}
	}
	return nil
}

// signalGroup signals what is in the container's control groups, which were made for it alone.
func (c *container) signalGroup(sig unix.Signal) error {
	if c.rec == nil || len(c.rec.Groups.Made) == 0 {
		return nil
	}
	pids, err := groupPids(c.rec.Groups)
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d of %s: %w", pid, c.id, err)
		}
	}
	return err
}

// groupPids lists the processes of a container's own groups.
func groupPids(p cgroup.Place) ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, dir := range p.Dirs {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return pids, err
		}
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !seen[pid] {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// Delete is the delete operation. With force, a container that has not ended is ended, and one that is not there is none
// to complain of.
func (s *Store) Delete(ctx context.Context, id string, force bool) error {
	c, err := s.openLocked(id)
	if errors.Is(err, ErrNotFound) && force {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	if status := c.status(); c.rec != nil && status != rspec.StateStopped {
		if !force {
			return fmt.Errorf("%s cannot be deleted: it is %s", id, status)
		}
		c.kill()
	}
	if c.rec == nil { // left by a create that was killed
		c.discard(cgroup.Place{}, "")
		return nil
	}
	spec := new(rspec.Spec)
	if err := c.load(documentName, spec); err != nil {
		return err
	}
	c.discard(c.rec.Groups, c.rec.Unmount)
	c.poststop(ctx, spec)
	return nil
}

// discard removes what belongs to a container whose first process has ended.
func (c *container) discard(groups cgroup.Place, unmount string) {
	if unmount != "" {
		// It may be gone with whoever had it in view.
		unix.Unmount(unmount, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	for i := range 100 {
		if groups.Remove() {
			break
		}
		// A group whose processes are not all gone: those that left the first one's pid namespace, or had none.
		if pids, err := groupPids(groups); err == nil && i%10 == 9 {
			for _, pid := range pids {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(10 * time.Millisecond)
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
