// Package manifest holds the documents of Karapace: the manifest a user writes, the lock that resolving it gives, and
// the user's configuration. It is pure: text in, values and text out; it opens no file and asks no clock.
//
// # Life of a document
//
// Parse turns karapace.toml into a Manifest: strict, normalised, every error with its line, column and remedy.
// Resolving, done elsewhere, gives a Lock. Lock.Encode writes karapace.lock, ParseLock reads it back, Lock.Check says
// whether it still is what the manifest asks for, and DiffLocks what an update changed.
//
// # Identity
//
// A manifest has a preliminary id (what is asked), a lock its EnvID (what was resolved). Both are SHA-256 over a
// canonical binary encoding that is domain-separated, versioned and length-delimited, so no two different values share
// one; see docs/hash-contract.md.
//
// # Invariants
//
//   - A Manifest from Parse is normalised: trimmed, lists sorted and free of duplicates, every value checked.
//   - A lock has exactly one text. ParseLock accepts it and nothing else; everything else is ErrTampered or a syntax error.
//   - Lock.ID and Lock.Encode do not depend on the order a resolver found things in.
package manifest
