// Package userns makes the one user namespace mapping that everything rootless runs under.
package userns

// Range maps Size ids that begin at Inside to those that begin at Outside.
type Range struct{ Inside, Outside, Size uint32 }

// Mapping is a user namespace's uid and gid mapping.
type Mapping struct {
	UID, GID []Range
}
