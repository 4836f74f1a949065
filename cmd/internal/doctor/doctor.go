// Package doctor examines a host and a store and says, for everything Karapace depends on, whether it is there, what it
// means when it is not, and the exact command that mends it on this very distribution.
//
// # Vocabulary
//
// A check is one thing looked at. It is ok, a warning (something is slower, unsafe or missing, and Karapace works), or a
// problem (no environment can be built or entered). The command of a check is for the distribution of the host, as its
// os-release and its package managers tell: one with an immutable system is changed by other commands than one without.
//
// # Invariants
//
//   - An examination changes nothing, and needs no privilege.
//   - Everything about the host comes through Host, so that any host can be examined as a table of files and answers.
//   - Every warning and every problem says what it means; none has a command that would not work on the host.
//   - Names and fields of checks are stable: they are the JSON of karapace doctor.
package doctor

import (
	"context"
	"io/fs"
	"strings"
	"time"
)

// Status is how a check ended.
type Status string

// The three ends of a check.
const (
	OK      Status = "ok"
	Warning Status = "warning" // karapace works, with something slower, unsafe or missing
	Problem Status = "problem" // a prerequisite is missing
)

// Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Detail  string `json:"detail"`            // what was found
	Meaning string `json:"meaning,omitempty"` // why it matters; always there unless the check is ok
	Fix     string `json:"fix,omitempty"`     // a command, or what to do where no command does it
}

// Host is what an examination looks at. Paths are absolute. Errors are those of package os.
type Host interface {
	// ReadFile reads a small file.
	ReadFile(path string) ([]byte, error)
	// Stat follows links.
	Stat(path string) (File, error)
	// FileSystem is about the one that path lies on, or would lie on if it was made.
	FileSystem(path string) (FileSystem, error)
	// Program is the path of a program of the host, "" when there is none.
	Program(name string) string
	// Try does something and undoes it.
	Try(ctx context.Context, what Attempt) error
}

// Attempt is what only the kernel can answer.
type Attempt string

// The attempts.
const (
	Container Attempt = "container" // start a container on a plain directory
	Overlay   Attempt = "overlay"   // start one on an overlay on the file system of the store
	OpenFuse  Attempt = "fuse"      // open /dev/fuse
)

// File is what is known about a file.
type File struct {
	Mode         fs.FileMode
	UID, GID     uint32
	Capabilities bool // it has file capabilities (capabilities(7))
	ModTime      time.Time
}

// FileSystem is what is known about a file system (statfs(2)).
type FileSystem struct {
	Type             string // as in /proc/filesystems
	Free, Total      uint64 // bytes an unprivileged user may still write, and all
	FreeInodes       uint64
	Inodes           uint64 // 0: it has no fixed number
	ReadOnly, NoSUID bool
}

// Runtime is an OCI runtime or the built-in backend.
type Runtime struct {
	Name, Path, Version string
	Available           bool
	Reason              string // why it is not
}

// Subject is for whom and for what a host is examined.
type Subject struct {
	UID, GID  int
	User      string
	Getenv    func(string) string
	Now       time.Time
	Programs  []string // karapace and karapace-store, absolute
	Store     string   // directory, absolute
	StoreErr  error    // why it cannot be opened
	StoreHint string   // what to do about that
	NoStore   bool     // there is none yet
	Runtimes  []Runtime
	// Subordinate tells how many subordinate ids a name service gives the user, where the files know none.
	Subordinate func() (uids, gids uint64)
}

func (s *Subject) root() bool { return s.UID == 0 }

// examination is one run over a host.
type examination struct {
	Host
	*Subject
	distro distribution
}

// Examine looks at everything, in the order in which it should be mended.
func Examine(ctx context.Context, h Host, s *Subject) []Check {
	x := &examination{Host: &remembering{Host: h, tried: map[Attempt]error{}}, Subject: s, distro: identify(h)}
	checks := []Check{
		x.distribution(), x.kernel(), x.seccomp(),
		x.namespaceLimits(), x.appArmor(ctx), x.idTool("newuidmap"), x.idTool("newgidmap"), x.subordinate(), x.container(ctx),
		x.overlay(ctx), x.fuse(ctx), x.seLinux(), x.keyring(),
		x.cgroups(), x.delegation(),
	}
	for _, r := range s.Runtimes {
		checks = append(checks, x.runtime(r))
	}
	return append(checks, x.runtimeDir(), x.clock(), x.programs(), x.store(), x.storeFileSystem(), x.space(), x.inodes())
}

// remembering tries everything only once.
type remembering struct {
	Host
	tried map[Attempt]error
}

func (r *remembering) Try(ctx context.Context, what Attempt) error {
	err, known := r.tried[what]
	if !known {
		err = r.Host.Try(ctx, what)
		r.tried[what] = err
	}
	return err
}

// Unfit tells whether there is a problem.
func Unfit(checks []Check) bool {
	for _, c := range checks {
		if c.Status == Problem {
			return true
		}
	}
	return false
}

func ok(name, detail string) Check { return Check{Name: name, Status: OK, Detail: detail} }

func warning(name, detail, meaning, fix string) Check {
	return Check{Name: name, Status: Warning, Detail: detail, Meaning: meaning, Fix: fix}
}

func problem(name, detail, meaning, fix string) Check {
	return Check{Name: name, Status: Problem, Detail: detail, Meaning: meaning, Fix: fix}
}

// text is the content of a file without space around it, "" when it cannot be read.
func (x *examination) text(path string) string {
	b, err := x.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (x *examination) exists(path string) bool {
	_, err := x.Stat(path)
	return err == nil
}

// sysctl is the command that sets a kernel parameter now and at every start.
func sysctl(name, value string) string {
	return "echo " + name + "=" + value + " | sudo tee /etc/sysctl.d/60-karapace-" + name[strings.LastIndexByte(name, '.')+1:] + ".conf && sudo sysctl --system"
}

// quote makes a word of a shell of s.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-./,:@=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
