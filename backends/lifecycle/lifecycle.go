// Package lifecycle is the namespace backend under the rules of the OCI runtime specification: containers that are
// created from a bundle somebody else made, started, signalled and deleted by separate commands.
//
// # Vocabulary
//
// A Store is a directory that has one directory for each container, named after it. A record says what is known of a
// container since it was created; document is the copy of its config.json; start is a socket that is there as long as
// the container is created and not started.
//
// # Life cycle
//
//	Create   makes the first process: namespaces, root file system, control groups, create-time hooks. It then executes an
//	         image (package rawproc) that waits for a connection to start
//	Start    connects; the image turns into the user's program, or says over the connection why it cannot
//	Exec     one more process beside it
//	Kill     a signal to the first process, or to all
//	Delete   removes what Create made, after the first process has ended
//
// # Invariants
//
//   - A container's status is what the kernel says of its process, which is known by pid and start time. The record says
//     nothing about it, so that no crash makes it wrong.
//   - Whoever changes a container holds the lock (flock) on its directory. One whose directory has no record is being
//     created while that is held; else it is what a killed Create left, and stopped.
//   - What a container's processes execute is never reached through this program's own file: everything inside begins as
//     an image in sealed memory.
//   - The document, names and what a store contains are input from outside: sizes are bounded, names are single path
//     elements, paths of the root file system are resolved inside of it.
package lifecycle

import (
	"errors"
	"fmt"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
)

// Store is a directory of containers.
type Store struct {
	Root string // absolute
	// Warn is told what is left out or goes wrong without being an error. It must not be nil.
	Warn func(text string)
}

// ErrNotFound says that there is no container of that name.
var ErrNotFound = errors.New("container does not exist")

// maxID is the length of the longest name that file systems take, with room for a suffix.
const maxID = 200

// checkID keeps names usable as one element of a path.
func checkID(id string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"
	if id == "" || len(id) > maxID || id == "." || id == ".." || strings.Trim(id, allowed) != "" {
		return invalid("%q is no container id: up to %d letters, digits and _ + . -", id, maxID)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &backends.Error{Kind: backends.Invalid, Err: fmt.Errorf(format, args...)}
}

// State answers the state operation.
func (s *Store) State(id string) (*Info, error) {
	c, err := s.open(id)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.info()
}

// Info is a container's state as the specification has it, and what other runtimes add to it.
type Info struct {
	rspec.State
	Rootfs  string `json:"rootfs,omitempty"`
	Created string `json:"created,omitempty"` // RFC 3339
	Owner   uint32 `json:"owner"`             // uid of who created it
}
