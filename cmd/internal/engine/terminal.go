package engine

import (
	"fmt"

	"github.com/karapace/karapace/storage"
)

// marks are what the user's terminal is told of a session in it, so that it can show where the user is and open its next tab there too
// (OSC 777, as Toolbx and Podman do it). A shell's has the environment's name as title too, put upon the stack of titles
// (XTWINOPS 22 and 23 of xterm). Terminals that understand no such sequences get none.
func (e *Engine) marks(r *storage.Record, shell bool) (enter, leave string) {
	switch e.Getenv("TERM") {
	case "", "dumb", "linux", "unknown":
		return "", ""
	}
	enter = fmt.Sprintf("\x1b]777;container;push;%s;karapace;%d\x1b\\", displayName(r), e.User.UID)
	leave = fmt.Sprintf("\x1b]777;container;pop;;;%d\x1b\\", e.User.UID)
	if shell {
		enter += "\x1b[22;2t\x1b]2;" + displayName(r) + "\x1b\\"
		leave += "\x1b[23;2t"
	}
	return enter, leave
}
