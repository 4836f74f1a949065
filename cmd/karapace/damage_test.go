package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/storage"
)

// damage ENV FILE changes a file in the environment's topmost read-only layer, behind the back of everybody.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage ENV FILE")
	}
	store := ts.Getenv("KARAPACE_STORE")
	s, err := storage.Open(store)
	ts.Check(err)
	r, err := s.Find(args[0])
	ts.Check(err)
	spoil(ts, args[0], filepath.Join(store, r.Lower[0], args[1]))
}

// damagesnapshot ENV SNAPSHOT FILE changes a file in a snapshot, likewise.
func damageSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: damagesnapshot ENV SNAPSHOT FILE")
	}
	s, err := storage.Open(ts.Getenv("KARAPACE_STORE"))
	ts.Check(err)
	r, err := s.Find(args[0])
	ts.Check(err)
	snap := r.Snapshot(digest.Digest(args[1]))
	if snap == nil {
		ts.Fatalf("%s has no snapshot %s", args[0], args[1])
	}
	spoil(ts, args[0], s.EnvDir(r.EnvID, snap.Dir, args[2]))
}

// damagefile ENV FILE changes a file of the store, likewise. ENV is any that can be entered.
func damageFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damagefile ENV FILE")
	}
	spoil(ts, args[0], filepath.Join(ts.Getenv("KARAPACE_STORE"), args[1]))
}

// spoil adds a byte to a file of the store.
func spoil(ts *testscript.TestScript, env, file string) {
	if os.Getuid() == 0 {
		ts.Check(appendByte(file))
		return
	}
	// the file belongs to a subordinate id: only inside the user namespace it can be written, where the store is visible
	// to a session whose home it is in
	ts.Check(ts.Exec("karapace", "exec", env, "-u", "0", "--", "sh", "-c", `printf x >>"$1"`, "sh", file))
}

func appendByte(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	f.Close()
	return err
}

// oldstore makes the store one of version 1: its records have no seals, and no digests of what the host adds.
func oldStore(ts *testscript.TestScript, neg bool, args []string) {
	store := ts.Getenv("KARAPACE_STORE")
	for _, pattern := range []string{"envs/*/record.json", "layers/*.json", "built/*.json"} {
		files, err := filepath.Glob(filepath.Join(store, pattern))
		ts.Check(err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			ts.Check(err)
			members := map[string]json.RawMessage{}
			ts.Check(json.Unmarshal(text, &members))
			delete(members, "sum")
			delete(members, "host_layer")
			if filepath.Base(filepath.Dir(file)) == "layers" {
				delete(members, "created")
			}
			text, err = json.Marshal(members)
			ts.Check(err)
			ts.Check(os.Remove(file)) // it may belong to a subordinate id
			ts.Check(os.WriteFile(file, append(text, '\n'), 0o644))
		}
	}
	ts.Check(os.Remove(filepath.Join(store, "version")))
	ts.Check(os.WriteFile(filepath.Join(store, "version"), []byte("karapace store 1\n"), 0o644))
}
