package wire

import (
	"errors"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

// Diff asks in what an environment is not as it was once. The changes come as events; the result follows them.
type Diff struct {
	EnvID    manifest.EnvID `json:"env_id"`
	Snapshot digest.Digest  `json:"snapshot,omitempty"` // as of when; empty is the built state
	Packages *Build         `json:"packages,omitempty"` // in packages, not in paths: what the environment's lock says, to run programs in it
}

// Change is a path that is not as it was.
type Change struct {
	Op      string // "+", "~" or "-"
	Path    string // absolute; any bytes but NUL
	Kind    string // as in fstree.Change
	Size    int64
	Link    string   // of a hard link: the path that came before
	What    []string // of "~": as in fstree.Change
	OldKind string
	OldSize int64
}

// changeFields is how many fields a Change has when written; each ends with a NUL.
const changeFields = 8

// Append writes c behind b. There may be very many of them, which JSON would take much longer for.
func (c *Change) Append(b []byte) []byte {
	b = append(append(b, c.Op...), 0)
	b = append(append(b, c.Path...), 0)
	b = append(append(b, c.Kind...), 0)
	b = append(strconv.AppendInt(b, c.Size, 10), 0)
	b = append(append(b, c.Link...), 0)
	b = append(append(b, strings.Join(c.What, ",")...), 0)
	b = append(append(b, c.OldKind...), 0)
	return append(strconv.AppendInt(b, c.OldSize, 10), 0)
}

// ReadChanges calls each for what Append wrote, until that fails.
func ReadChanges(b []byte, each func(Change) error) error {
	for text := string(b); text != ""; {
		var f [changeFields]string
		for i := range f {
			var ok bool
			if f[i], text, ok = strings.Cut(text, "\x00"); !ok {
				return errors.New("a change is cut off")
			}
		}
		c := Change{Op: f[0], Path: f[1], Kind: f[2], Link: f[4], OldKind: f[6]}
		var err, olderr error
		c.Size, err = strconv.ParseInt(f[3], 10, 64)
		c.OldSize, olderr = strconv.ParseInt(f[7], 10, 64)
		if f[5] != "" {
			c.What = strings.Split(f[5], ",")
		}
		if err = errors.Join(err, olderr); err != nil {
			return err
		}
		if err := each(c); err != nil {
			return err
		}
	}
	return nil
}

// DiffResult is the answer to Diff.
type DiffResult struct {
	Manager  string          `json:"manager,omitempty"` // the package manager that was asked
	Packages []PackageChange `json:"packages,omitempty"`
}

// PackageChange is a package that is not as it was.
type PackageChange struct {
	Name     string `json:"name"`
	Arch     string `json:"arch"`
	Change   string `json:"change"`        // "installed", "removed", "upgraded", "downgraded", "changed", or "marked": wanted for itself now
	Old      string `json:"old,omitempty"` // versions
	New      string `json:"new,omitempty"`
	Explicit bool   `json:"explicit"`          // it was asked for by name
	Foreign  bool   `json:"foreign,omitempty"` // it is of another architecture than the system
}
