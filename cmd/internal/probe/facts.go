package probe

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// facts collects what is seen; what cannot be seen is told as the error it gives.
type facts []Fact

func (f *facts) add(group, name, value string) { *f = append(*f, Fact{group, name, value}) }

// gather tells what this very process sees.
func gather() []Fact {
	var f facts
	f.descriptors() // before anything is opened
	f.status()
	f.process()
	f.limits()
	f.environment()
	f.namespaces()
	f.cgroups()
	f.mounts()
	f.devices()
	f.network()
	return f
}

// Namespaces are the kinds of namespaces, as /proc/self/ns names them.
func Namespaces() []string {
	return []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
}

// descriptors tells what is open: where standard streams go, and whether anything was left open for the process.
func (f *facts) descriptors() {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		f.add("descriptors", "all", err.Error())
		return
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		f.add("descriptors", "all", err.Error())
		return
	}
	for _, n := range names {
		target, err := os.Readlink("/proc/self/fd/" + n)
		if err != nil || ofGo(target) { // the directory itself, for one
			continue
		}
		if kind, _, found := strings.Cut(target, ":["); found {
			target = kind // the number of a pipe or socket differs from run to run
		}
		f.add("descriptors", n, target)
	}
}

// ofGo tells whether what is open was opened by Go for itself: its poller, and what it learns its share of processors from.
func ofGo(target string) bool {
	switch filepath.Base(target) {
	case "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us":
		return strings.HasPrefix(target, "/sys/fs/cgroup/")
	}
	return strings.HasPrefix(target, "anon_inode:[event")
}

// status tells what /proc/self/status does (proc(5)).
func (f *facts) status() {
	for line := range strings.Lines(read("/proc/self/status")) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.Join(strings.Fields(value), " ")
		switch name {
		case "Uid", "Gid":
			f.add("ids", strings.ToLower(name), value)
		case "Groups":
			f.add("ids", "groups", value)
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			f.add("capabilities", map[string]string{"CapInh": "inheritable", "CapPrm": "permitted", "CapEff": "effective", "CapBnd": "bounding", "CapAmb": "ambient"}[name], capabilities(value))
		case "NoNewPrivs":
			f.add("process", "no_new_privs", value)
		case "Seccomp":
			f.add("process", "seccomp", map[string]string{"0": "none", "1": "strict", "2": "filter"}[value])
		case "Seccomp_filters":
			f.add("process", "seccomp filters", value)
		}
	}
	f.add("ids", "uid_map", table(read("/proc/self/uid_map")))
	f.add("ids", "gid_map", table(read("/proc/self/gid_map")))
	f.add("ids", "setgroups", read("/proc/self/setgroups"))
}

// table makes one line of a table.
func table(text string) string {
	var rows []string
	for line := range strings.Lines(text) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(rows, ", ")
}

func (f *facts) process() {
	f.add("process", "umask", fmt.Sprintf("%04o", unix.Umask(0)))
	cwd, err := os.Getwd()
	if err != nil {
		cwd = err.Error()
	}
	f.add("process", "cwd", cwd)
	f.add("process", "pid", strconv.Itoa(os.Getpid()))
	f.add("process", "parent", strconv.Itoa(os.Getppid()))
	sid, _ := unix.Getsid(0)
	f.add("process", "session", strconv.Itoa(sid))
	f.add("process", "group", strconv.Itoa(unix.Getpgrp()))
	nice, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	f.add("process", "nice", strconv.Itoa(20-nice))
	f.add("process", "oom_score_adj", read("/proc/self/oom_score_adj"))
	f.add("process", "security label", read("/proc/self/attr/current"))
	f.add("process", "dumpable", dumpable())
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.add("host", "hostname", unix.ByteSliceToString(u.Nodename[:]))
		f.add("host", "domainname", unix.ByteSliceToString(u.Domainname[:]))
		f.add("host", "machine", unix.ByteSliceToString(u.Machine[:]))
	}
}

func dumpable() string {
	n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(n)
}

// limits tells the resource limits. Go raises the one of open files for itself, and lowers it again for what it executes:
// so a child is asked, which is stopped before its first instruction.
func (f *facts) limits() {
	text, err := limitsOfChild()
	if err != nil {
		text = read("/proc/self/limits")
	}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max ")
		if !found {
			continue
		}
		name, _, _ := strings.Cut(rest, "  ")
		f.add("limits", name, table(strings.TrimPrefix(rest, name)))
	}
}

func limitsOfChild() (string, error) {
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{Path}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return "", err
	}
	var ws unix.WaitStatus
	_, err = unix.Wait4(p.Pid, &ws, 0, nil)
	text, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid))
	p.Kill()
	unix.Wait4(p.Pid, &ws, 0, nil)
	return string(text), cmp.Or(err, readErr)
}

func (f *facts) environment() {
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		f.add("environment", name, value)
	}
}

func (f *facts) namespaces() {
	for _, n := range Namespaces() {
		id, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			id = err.Error()
		}
		f.add("namespaces", n, id)
	}
}

func (f *facts) cgroups() {
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			f.add("cgroups", cmp.Or(parts[1], "unified"), parts[2])
		}
	}
}

// mounts tells /proc/self/mountinfo (proc(5)): type and options of each, by its place. What the probe itself is bound
// with is left out.
func (f *facts) mounts() {
	seen := map[string]int{}
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		before, after, found := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 6 || len(right) < 3 || strings.HasPrefix(left[4], Dir) {
			continue
		}
		var propagation []string
		for _, tag := range left[6:] {
			kind, _, _ := strings.Cut(tag, ":")
			propagation = append(propagation, kind)
		}
		value := right[0] + " " + left[5]
		if super := superOptions(right[2]); super != "" {
			value += " (" + super + ")"
		}
		if len(propagation) > 0 {
			value += " " + strings.Join(propagation, " ")
		}
		name := unescape(left[4])
		if seen[name]++; seen[name] > 1 {
			name += " (" + strconv.Itoa(seen[name]) + ")"
		}
		f.add("mounts", name, value)
	}
}

// superOptions are those of a file system that mean something inside: not the directories of an overlay.
func superOptions(options string) string {
	var kept []string
	for o := range strings.SplitSeq(options, ",") {
		name, _, _ := strings.Cut(o, "=")
		switch name {
		case "lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+":
		default:
			kept = append(kept, o)
		}
	}
	return strings.Join(kept, ",")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

const maxDevices = 512

// devices tells what is in /dev.
func (f *facts) devices() {
	n := 0
	err := filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "/dev" {
			return nil
		}
		if n++; n > maxDevices {
			return filepath.SkipAll
		}
		if target, err := os.Readlink(path); err == nil {
			f.add("devices", path, "-> "+target)
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			f.add("devices", path, err.Error())
			return nil
		}
		value := fmt.Sprintf("%s %04o %d:%d", kind(st.Mode), st.Mode&0o7777, st.Uid, st.Gid)
		if k := st.Mode & unix.S_IFMT; k == unix.S_IFCHR || k == unix.S_IFBLK {
			value += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		f.add("devices", path, value)
		if d.IsDir() && path != "/dev/pts" && path != "/dev/net" { // what others have made in /dev/shm is not the environment's
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		f.add("devices", "/dev", err.Error())
	}
}

func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return "character"
	case unix.S_IFBLK:
		return "block"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFREG:
		return "file"
	default:
		return "other"
	}
}

func (f *facts) network() {
	var names []string
	for line := range strings.Lines(read("/proc/net/dev")) {
		if name, _, found := strings.Cut(line, ":"); found {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	f.add("host", "interfaces", strings.Join(names, " "))
}
