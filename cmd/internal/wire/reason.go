package wire

import (
	"errors"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// ReasonOf is the reason of a failure on either side of the process boundary.
func ReasonOf(err error) failure.Reason {
	var told *failure.Error
	var none *storage.NotFoundError
	var running *storage.RunningError
	var state *storage.StateError
	var taken *storage.NameTakenError
	switch {
	case errors.As(err, &told) && told.Reason != "":
		return told.Reason
	case errors.As(err, &none) && len(none.Matches) > 1:
		return failure.Ambiguous
	case errors.As(err, &none):
		return failure.NotFound
	case errors.As(err, &running):
		return failure.Running
	case errors.As(err, &state):
		return failure.WrongState
	case errors.As(err, &taken):
		return failure.NameTaken
	}
	return ""
}
