package engine

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/rootview"
)

// identity is who a process is inside.
type identity struct {
	uid, gid    uint32
	groups      []uint32
	home, shell string
	env         []string
}

const accountsLimit = 1 << 20 // bytes read of a passwd or group file

// userInside finds out who the process is to be. The caller keeps its own ids and needs no look-up, except for a shell; its home is the host's.
func (e *Engine) userInside(s *storage.Store, r *storage.Record, o SessionOptions) (identity, error) {
	v := view(s, r)
	if o.User == "" {
		who := identity{uid: uint32(e.User.UID), gid: uint32(e.User.GID)}
		if len(o.Args) == 0 {
			account, _, _ := findUser(v, strconv.Itoa(e.User.UID))
			who.shell = shell(v, e.User.Shell, account.shell)
		}
		return who, nil
	}
	who, err := lookupUser(v, o.User)
	if err == nil {
		err = e.mapped(who)
	}
	if err != nil {
		return identity{}, failure.New(failure.General, fmt.Errorf("user %q of environment %s: %w", o.User, displayName(r), err), "name a user of its /etc/passwd, or UID[:GID]")
	}
	if len(o.Args) == 0 {
		who.shell = shell(v, who.shell, who.shell)
	}
	return who, nil
}

// mapped checks that the user namespace has the ids of somebody else than the caller.
func (e *Engine) mapped(who identity) error {
	m, err := e.mapping()
	if m == nil || err != nil {
		return err
	}
	if err := inRanges("uid", m.UID, who.uid); err != nil {
		return err
	}
	return inRanges("gid", m.GID, append([]uint32{who.gid}, who.groups...)...)
}

func inRanges(kind string, ranges []userns.Range, ids ...uint32) error {
	for _, id := range ids {
		var end uint64 // of those from 0 on
		found := false
		for _, r := range ranges {
			last := uint64(r.Inside) + uint64(r.Size)
			found = found || id >= r.Inside && uint64(id) < last
			if uint64(r.Inside) == end {
				end = last
			}
		}
		if !found {
			return fmt.Errorf("environments of yours have no %s %d: they have those below %d", kind, id, end)
		}
	}
	return nil
}

// shell is the wanted one if the environment is seen to have it, else that of the account inside, else the one that
// every system has.
func shell(v rootview.View, wanted, account string) string {
	if m, err := v.Mode(wanted); filepath.IsAbs(wanted) && err == nil && m.IsRegular() {
		return wanted
	}
	if filepath.IsAbs(account) {
		return account
	}
	return "/bin/sh"
}

// lookupUser resolves NAME, NAME:GROUP, UID or UID:GID against the environment's own accounts.
func lookupUser(v rootview.View, ref string) (identity, error) {
	user, group, hasGroup := strings.Cut(ref, ":")
	who, name, err := findUser(v, user)
	if err != nil {
		return identity{}, err
	}
	if hasGroup {
		if who.gid, err = findGroup(v, group); err != nil {
			return identity{}, err
		}
	} else if name != "" {
		who.groups = memberships(v, name, who.gid)
	}
	who.env = []string{"HOME=" + who.home, "USER=" + name, "LOGNAME=" + name}
	return who, nil
}

func findUser(v rootview.View, user string) (who identity, name string, err error) {
	uid, numErr := parseID(user)
	found := eachLine(v, "/etc/passwd", 7, func(f []string) bool {
		id, err := parseID(f[2])
		if err != nil || (numErr == nil && id != uid) || (numErr != nil && f[0] != user) {
			return false
		}
		gid, err := parseID(f[3])
		if err != nil {
			return false
		}
		name = f[0]
		who = identity{uid: id, gid: gid, home: f[5], shell: f[6]}
		return true
	})
	switch {
	case found && filepath.IsAbs(who.home):
		return who, name, nil
	case found:
		who.home = "/"
		return who, name, nil
	case numErr == nil:
		return identity{uid: uid, gid: uid, home: "/"}, "", nil
	default:
		return identity{}, "", fmt.Errorf("there is no such user")
	}
}

func findGroup(v rootview.View, group string) (gid uint32, err error) {
	if id, err := parseID(group); err == nil {
		return id, nil
	}
	if eachLine(v, "/etc/group", 4, func(f []string) bool {
		id, err := parseID(f[2])
		if err != nil || f[0] != group {
			return false
		}
		gid = id
		return true
	}) {
		return gid, nil
	}
	return 0, fmt.Errorf("there is no group %q", group)
}

// memberships are the additional groups of a user, at most as many as the kernel takes cheaply.
func memberships(v rootview.View, name string, primary uint32) []uint32 {
	const most = 256
	var gids []uint32
	eachLine(v, "/etc/group", 4, func(f []string) bool {
		for member := range strings.SplitSeq(f[3], ",") {
			if id, err := parseID(f[2]); err == nil && member == name && id != primary {
				gids = append(gids, id)
				break
			}
		}
		return len(gids) == most
	})
	return gids
}

// eachLine calls use with the fields of every well-formed line until it returns true.
func eachLine(v rootview.View, file string, fields int, use func([]string) bool) bool {
	f, err := v.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	sc := bufio.NewScanner(io.LimitReader(f, accountsLimit))
	for sc.Scan() {
		if parts := strings.Split(sc.Text(), ":"); len(parts) == fields && use(parts) {
			return true
		}
	}
	return false
}

// parseID reads a uid or gid; the kernel's "no id" is none.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}
