// Package userns makes the one user namespace mapping that everything rootless runs under, and starts programs in it.
//
// The mapping is called keep-id: the user's own uid and gid are themselves inside, and container root and all other
// ids are the user's subordinate ones (subuid(5)). So a file that a build makes as root and a file in the user's home
// both have the owner they have outside, and neither is ever changed or copied when an environment is entered.
//
// Only newuidmap(1) and newgidmap(1) may write such a mapping. As real root, or inside such a namespace already, there
// is nothing to map: a nil *Mapping means to stay in the user namespace of the caller.
package userns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/smallfile"
)

// MinIDs is how many subordinate ids a user needs: distributions use ids up to 65534 (nobody).
const MinIDs = 65536

// Range maps Size ids that begin at Inside to those that begin at Outside.
type Range struct{ Inside, Outside, Size uint32 }

// Mapping is a user namespace's uid and gid mapping, and the programs that write it.
type Mapping struct {
	UID, GID []Range

	newuidmap, newgidmap string
	direct               bool // the caller may write it by itself
}

// ErrUnavailable is in every error that says what the host has to be given before a user namespace can be mapped.
var ErrUnavailable = errors.New("no user namespace")

// MissingError says what is missing and how it is put right.
type MissingError struct{ Problem, Remedy string }

func (e *MissingError) Error() string { return e.Problem + ": " + e.Remedy }

// Is makes a MissingError an ErrUnavailable.
func (e *MissingError) Is(target error) bool { return target == ErrUnavailable }

// Lookup returns the calling user's mapping, or nil for root (uid 0), whose ids are kept as they are. It reads
// /etc/passwd, /etc/subuid and /etc/subgid, asks getsubids(1) where those know nothing, and starts nothing else.
func Lookup() (*Mapping, error) {
	uid, gid := unix.Geteuid(), unix.Getegid()
	if uid == 0 {
		return nil, nil
	}
	h := host{root: "/", user: os.Getenv("USER"), run: getsubids}
	return h.lookup(uint32(uid), uint32(gid))
}

// Of returns a mapping that somebody else has chosen. Root of the user namespace that the caller is in writes it by itself;
// anybody else needs newuidmap and newgidmap, which allow what the administrator has given.
func Of(uid, gid []Range) (*Mapping, error) {
	m := &Mapping{UID: uid, GID: gid, direct: unix.Geteuid() == 0}
	if m.direct {
		return m, nil
	}
	h := host{root: "/"}
	var err error
	if m.newuidmap, err = h.find("newuidmap"); err != nil {
		return nil, err
	}
	m.newgidmap, err = h.find("newgidmap")
	return m, err
}

// host is where a lookup reads, so that tests can give it another one.
type host struct {
	root string // of the files, with a slash at the end
	user string // the name to try when /etc/passwd does not know the uid
	run  func(group bool, name string) ([]span, error)
}

func (h host) lookup(uid, gid uint32) (*Mapping, error) {
	name := userName(h.root+"etc/passwd", uid)
	if name == "" {
		name = h.user
	}
	uids, err := h.spans("etc/subuid", false, name, uid)
	if err != nil {
		return nil, err
	}
	gids, err := h.spans("etc/subgid", true, name, uid)
	if err != nil {
		return nil, err
	}
	m := &Mapping{UID: keepID(uid, uids), GID: keepID(gid, gids)}
	if m.newuidmap, err = h.find("newuidmap"); err != nil {
		return nil, err
	}
	if m.newgidmap, err = h.find("newgidmap"); err != nil {
		return nil, err
	}
	return m, nil
}

func (h host) find(program string) (string, error) {
	for _, dir := range []string{"usr/bin/", "bin/", "usr/local/bin/", "run/wrappers/bin/", "usr/sbin/"} {
		if path := h.root + dir + program; unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &MissingError{
		Problem: program + " is not installed",
		Remedy:  "install the package uidmap (Debian, Ubuntu), shadow (openSUSE, Arch) or shadow-utils (Fedora)",
	}
}

func (h host) spans(file string, group bool, name string, uid uint32) ([]span, error) {
	spans, err := readSpans(h.root+file, name, uid)
	if err != nil {
		return nil, err
	}
	if total(spans) < MinIDs && h.run != nil {
		if more, err := h.run(group, name); err == nil && total(more) > total(spans) {
			spans = more
		}
	}
	if n := total(spans); n < MinIDs {
		return nil, tooFew(file, name, uid, n)
	}
	return spans, nil
}

func tooFew(file, name string, uid uint32, have uint64) error {
	who := name
	if who == "" {
		who = strconv.FormatUint(uint64(uid), 10)
	}
	problem := fmt.Sprintf("user %s has no subordinate ids in /%s", who, file)
	if have > 0 {
		problem = fmt.Sprintf("user %s has %d subordinate ids in /%s and needs %d", who, have, file, MinIDs)
	}
	return &MissingError{
		Problem: problem,
		Remedy:  "run: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + who,
	}
}

// span is a run of subordinate ids.
type span struct{ start, size uint32 }

func total(spans []span) uint64 {
	var n uint64
	for _, s := range spans {
		n += uint64(s.size)
	}
	return n
}

// keepID maps id to itself and, from 0 up, all other ids to the spans, as many as there are.
func keepID(id uint32, spans []span) []Range {
	var out []Range
	next := uint64(0)
	self := func() {
		out = append(out, Range{id, id, 1})
		next++
	}
	for _, s := range spans {
		start, left := s.start, s.size
		for left > 0 && next < 1<<32-1 {
			if next == uint64(id) {
				self()
			}
			n := uint64(left)
			if next < uint64(id) {
				n = min(n, uint64(id)-next)
			}
			n = min(n, 1<<32-1-next)
			out = append(out, Range{uint32(next), start, uint32(n)})
			next += n
			start += uint32(n)
			left -= uint32(n)
		}
	}
	if next <= uint64(id) {
		self()
	}
	return out
}

// OwnRoot is the mapping with the same ids in which the user is container root, and the subordinate ids are all others:
// what other programs make of the same user.
func (m *Mapping) OwnRoot() *Mapping {
	out := *m
	out.UID, out.GID = ownRoot(m.UID), ownRoot(m.GID)
	return &out
}

func ownRoot(kept []Range) []Range {
	out := []Range{{}}
	next := uint32(1)
	for _, r := range kept {
		last := &out[len(out)-1]
		switch {
		case r.Size == 1 && r.Inside == r.Outside:
			out[0] = Range{0, r.Outside, 1}
			continue
		case len(out) > 1 && last.Outside+last.Size == r.Outside:
			last.Size += r.Size
		default:
			out = append(out, Range{next, r.Outside, r.Size})
		}
		next += r.Size
	}
	return out
}

// readSpans reads subuid(5): lines of NAME-OR-UID:START:COUNT. A file that is missing is empty.
func readSpans(file, name string, uid uint32) ([]span, error) {
	data, err := smallfile.Read(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read subordinate ids: %w", err)
	}
	id := strconv.FormatUint(uint64(uid), 10)
	var spans []span
	for line := range strings.Lines(string(data)) {
		who, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || who != id && (name == "" || who != name) {
			continue
		}
		start, count, _ := strings.Cut(rest, ":")
		if s, ok := parseSpan(start, count); ok {
			spans = append(spans, s)
		}
	}
	return spans, nil
}

// parseSpan refuses what a kernel would: no ids, or ids beyond 32 bits, whose last one means "none".
func parseSpan(start, count string) (span, bool) {
	a, err := strconv.ParseUint(start, 10, 32)
	n, err2 := strconv.ParseUint(count, 10, 32)
	return span{uint32(a), uint32(n)}, err == nil && err2 == nil && n > 0 && a > 0 && a+n <= 1<<32-1
}

// Account is a user's name and home as /etc/passwd has them, empty when it does not know the uid.
func Account(uid uint32) (name, home string) {
	if f := passwd("/etc/passwd", uid); f != nil {
		return f[0], f[5]
	}
	return "", ""
}

// userName finds uid's name in a passwd(5) file; "" when it is not there.
func userName(file string, uid uint32) string {
	if f := passwd(file, uid); f != nil {
		return f[0]
	}
	return ""
}

// passwd gives the fields of uid's line in a passwd(5) file, nil when there is none.
func passwd(file string, uid uint32) []string {
	data, err := smallfile.Read(file)
	if err != nil {
		return nil
	}
	id := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(f) == 7 && f[2] == id {
			return f
		}
	}
	return nil
}
