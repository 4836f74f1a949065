package userns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Apply writes the mapping of the user namespace that process pid is in, a child of the caller's made with
// CLONE_NEWUSER.
func (m *Mapping) Apply(pid int) error {
	a := m.Begin(pid)
	return a.Wait()
}

// Applying is a mapping that is being written. The zero value has been written.
type Applying struct {
	mappers [2]*mapper
	err     error
}

// Begin is the first half of Apply: newuidmap and newgidmap run at the same time as each other and as the caller, who
// calls Wait.
func (m *Mapping) Begin(pid int) Applying {
	var a Applying
	// The process shares the caller's memory, which an earlier session of the caller's may have left untraceable: to newuidmap
	// it would belong to somebody else. The process says so itself, perhaps too late.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		a.err = fmt.Errorf("become traceable: %w", err)
		return a
	}
	if m.direct {
		a.err = m.write(pid)
		return a
	}
	if a.mappers[0], a.err = startMapper(m.newuidmap, pid, m.UID); a.err == nil {
		a.mappers[1], a.err = startMapper(m.newgidmap, pid, m.GID)
	}
	return a
}

// write writes the mapping as root.
func (m *Mapping) write(pid int) error {
	for _, file := range [...]struct {
		name   string
		ranges []Range
	}{{"uid_map", m.UID}, {"gid_map", m.GID}} {
		var text []byte
		for _, r := range file.ranges {
			text = fmt.Appendf(text, "%d %d %d\n", r.Inside, r.Outside, r.Size)
		}
		path := "/proc/" + strconv.Itoa(pid) + "/" + file.name
		if err := os.WriteFile(path, text, 0); err != nil {
			return fmt.Errorf("map ids: %w", err)
		}
	}
	return nil
}

// Wait waits for both and returns the first error.
func (a *Applying) Wait() error {
	err := a.err
	for _, m := range a.mappers {
		if m == nil {
			continue
		}
		if err2 := m.wait(); err == nil {
			err = err2
		}
	}
	return err
}

// mapper is a running newuidmap or newgidmap.
type mapper struct {
	path   string
	pid    int
	prog   *rawproc.Program // lives in our memory until it has executed the mapper
	stderr [2]int
}

func startMapper(path string, pid int, ranges []Range) (*mapper, error) {
	argv := []string{path, strconv.Itoa(pid)}
	for _, r := range ranges {
		for _, n := range [...]uint32{r.Inside, r.Outside, r.Size} {
			argv = append(argv, strconv.FormatUint(uint64(n), 10))
		}
	}
	m := &mapper{path: path, prog: new(rawproc.Program)}
	if err := unix.Pipe2(m.stderr[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	m.prog.Report(m.stderr[1])
	m.prog.Call("redirect "+path, unix.SYS_DUP3, rawproc.Int(m.stderr[1]), rawproc.Int(2), rawproc.Int(0))
	m.prog.Call("execute "+path, unix.SYS_EXECVE, rawproc.Str(path), rawproc.Strs(argv), rawproc.Strs(nil))
	var err error
	m.pid, err = m.prog.Start(0)
	unix.Close(m.stderr[1])
	if err != nil {
		unix.Close(m.stderr[0])
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return m, nil
}

func (m *mapper) wait() error {
	defer unix.Close(m.stderr[0])
	ws, err := rawproc.Wait(m.pid)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", m.path, err)
	}
	if ws == 0 {
		return nil
	}
	said := make([]byte, 1024)
	n, err := unix.Read(m.stderr[0], said)
	if err != nil {
		n = 0
	}
	if n == rawproc.ReportSize {
		return fmt.Errorf("start %s: %w", m.path, m.prog.ParseReport(said[:n]))
	}
	return m.failure(ws, string(bytes.TrimSpace(said[:n])))
}

func (m *mapper) failure(ws unix.WaitStatus, said string) error {
	if strings.Contains(said, "Operation not permitted") && unix.Getuid() != 0 {
		return &MissingError{
			Problem: fmt.Sprintf("%s may not write the mapping (%s)", m.path, said),
			Remedy:  "it must be owned by root and have its set-user-id bit or file capabilities; reinstall the package it is from",
		}
	}
	return fmt.Errorf("%s: exit status %d: %s", m.path, ws.ExitStatus(), said)
}

// getsubids asks the name service for subordinate ids, which may not come from files at all.
func getsubids(group bool, name string) ([]span, error) {
	path := "/usr/bin/getsubids"
	if _, err := os.Stat(path); err != nil || name == "" {
		return nil, fmt.Errorf("no getsubids")
	}
	args := []string{name}
	if group {
		args = []string{"-g", name}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{} // of the user's nothing, as for newuidmap
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var spans []span
	for line := range strings.Lines(string(out)) { // "0: NAME START COUNT"
		if f := strings.Fields(line); len(f) == 4 {
			if s, ok := parseSpan(f[2], f[3]); ok {
				spans = append(spans, s)
			}
		}
	}
	return spans, nil
}
