package usage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/smallfile"
)

// tick is the unit of times in /proc, USER_HZ, which is the same on every machine that Linux runs on today.
const tick = time.Second / 100

// host is where processes are; tests have their own.
type host struct {
	proc string
	// parent gives the pid namespace above the one that a file names, as a link to it reads; "" when there is none to see.
	parent func(file string) string
}

func system() host { return host{proc: "/proc", parent: parentNamespace} }

func (h host) path(pid int, name string) string {
	return filepath.Join(h.proc, strconv.Itoa(pid), name)
}

// processes adds up what the processes of containers take.
func (h host) processes(list []Container) ([]Usage, error) {
	all := make([]Usage, len(list))
	owner := map[string]int{} // of pid namespaces: a place in the list, or -1 for nobody's
	for i, c := range list {
		all[i].From = map[string]string{}
		if ns, err := os.Readlink(h.path(c.Pid, "ns/pid")); err == nil {
			owner[ns] = i
		}
	}
	if own, err := os.Readlink(filepath.Join(h.proc, "self/ns/pid")); err == nil {
		owner[own] = -1
	}
	pids, err := h.pids()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if i := h.ownerOf(pid, owner); i >= 0 {
			h.add(&all[i], pid, pid == list[i].Pid)
		}
	}
	return all, nil
}

func (h host) pids() ([]int, error) {
	f, err := os.Open(h.proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// ownerOf says to which container a process belongs, by its pid namespace or one above that. Processes whose namespace may not be
// seen are not ours.
func (h host) ownerOf(pid int, owner map[string]int) int {
	file := h.path(pid, "ns/pid")
	ns, err := os.Readlink(file)
	if err != nil {
		return -1
	}
	i, known := owner[ns]
	if known {
		return i
	}
	if i, known = owner[h.parent(file)]; !known {
		i = h.above(pid, owner)
	}
	owner[ns] = i
	return i
}

// maxDepth is how deep the kernel lets pid namespaces be.
const maxDepth = 32

// above looks for the owner of a process through the processes that it descends from, when its pid namespace lies deeper than one
// below a container's: the first process of such a namespace was made by one of the namespace above.
func (h host) above(pid int, owner map[string]int) int {
	for range maxDepth * maxDepth {
		s, err := h.stat(pid)
		if err != nil || s.parent <= 0 {
			return -1
		}
		pid = s.parent
		ns, err := os.Readlink(h.path(pid, "ns/pid"))
		if err != nil {
			return -1
		}
		if i, known := owner[ns]; known {
			return i
		}
	}
	return -1
}

// parentNamespace asks the kernel (ioctl_ns(2)).
func parentNamespace(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	above, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
	if err != nil {
		return ""
	}
	defer unix.Close(above)
	link, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(above)))
	if err != nil {
		return ""
	}
	return link
}

// add adds a process. A container's first one, which does nothing but wait, counts only for the time of those that it has
// outlived.
func (h host) add(u *Usage, pid int, first bool) {
	s, err := h.stat(pid)
	if err != nil {
		return // it has ended
	}
	u.CPU += s.cpu
	u.From[CPU] = FromProcesses
	if s.dead {
		return
	}
	if !first {
		u.Processes++
		u.Threads += s.threads
	}
	memory := s.memory
	if kb, ok := keyed(h.path(pid, "smaps_rollup"), "Pss"); ok {
		memory = kb << 10
	}
	u.Memory += memory
	u.From[Memory] = FromProcesses
	read, ok := keyed(h.path(pid, "io"), "read_bytes")
	written, _ := keyed(h.path(pid, "io"), "write_bytes")
	if ok {
		u.Read += read
		u.Written += written
		u.From[IO] = FromProcesses
	}
}

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	dead    bool
	parent  int
	cpu     time.Duration // its own, and that of children it has waited for
	threads int
	memory  int64 // bytes in memory
}

var errForm = errors.New("not of the form that proc_pid_stat(5) describes")

func (h host) stat(pid int) (stat, error) {
	path := h.path(pid, "stat")
	text, err := smallfile.Read(path)
	if err != nil {
		return stat{}, err
	}
	end := strings.LastIndexByte(string(text), ')') // the name before it may hold anything
	f := strings.Fields(string(text[end+1:]))
	if end < 0 || len(f) < 22 {
		return stat{}, &fs.PathError{Op: "read", Path: path, Err: errForm}
	}
	number := func(field int) int64 { // by its number in proc_pid_stat(5)
		n, _ := strconv.ParseInt(f[field-3], 10, 64)
		return n
	}
	return stat{
		dead: f[0] == "Z" || f[0] == "X", parent: int(number(4)), threads: int(number(20)),
		cpu:    time.Duration(number(14)+number(15)+number(16)+number(17)) * tick,
		memory: number(24) * int64(os.Getpagesize()),
	}, nil
}
