package engine

import (
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
)

// ReasonOf says exactly what an error of the engine is; empty where there is no name for it.
func ReasonOf(err error) failure.Reason { return wire.ReasonOf(err) }
