package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// reaches WIDEST ENV [PROFILE] compares what a session of ENV reaches with what enter --print-policy says about it, line by
// line. What the policy of the environment WIDEST lists beyond that must not be there. A fresh environment has no places
// that mounts of sessions before have left.
func reaches(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: reaches WIDEST ENV [PROFILE]")
	}
	widest, policy := printed(ts, args[0]), printed(ts, args[1:]...)
	said, most := reachable(policy), reachable(widest)
	script := `mounted() { grep -qF " $1 $2" /proc/self/mountinfo; }
for p in "$@"; do
	if mounted "$p" ro,; then echo "$p: read-only"
	elif mounted "$p" rw,; then echo "$p: writable"
	elif test ! -e "$p"; then echo "$p: absent"
	elif test "$(stat -c %d "$p")" = "$(stat -c %d /)"; then echo "$p: absent" # the environment's own
	else echo "$p: there"; fi
done
test ! -e "$HOME/marker" || echo "home marker"
if mounted / ro,; then echo "root read-only"; else echo "root writable"; fi
echo "network $(readlink /proc/self/ns/net)"
echo "environment $KARAPACE_ENV"
env | sed -n 's/^\([A-Za-z_0-9]*\)=.*/variable \1/p'`
	command := []string{"karapace", "exec", args[1], "--backend", ts.Getenv("BACKEND")}
	if len(args) == 3 {
		command = append(command, "--profile", args[2])
	}
	command = append(command, "--", "sh", "-c", script, "reaches")
	for path := range most.paths {
		command = append(command, path)
	}
	for path := range said.paths {
		command = append(command, path)
	}
	ts.Check(ts.Exec(command[0], command[1:]...))
	found := strings.Split(ts.ReadFile("stdout"), "\n")
	for path, note := range said.paths {
		want := path + ": writable"
		if strings.Contains(note, "read-only") {
			want = path + ": read-only"
		}
		if !slices.Contains(found, want) {
			ts.Fatalf("the policy says %s (%s, and a session has it otherwise", path, note)
		}
	}
	for path := range most.paths {
		if _, ok := said.paths[path]; !ok && !slices.Contains(found, path+": absent") {
			ts.Fatalf("the policy does not say %s, and a session has it", path)
		}
	}
	for _, name := range most.variables {
		if has := slices.Contains(found, "variable "+name); has != slices.Contains(said.variables, name) {
			ts.Fatalf("the variable %s: the policy says %v, a session says %v", name, !has, has)
		}
	}
	own, err := os.Readlink("/proc/self/ns/net")
	ts.Check(err)
	for line, want := range map[string]bool{
		"home marker": policy.Home == "share", "root " + policy.Root: true, "network " + own: policy.Network == "host",
		"environment " + policy.Environment: true,
	} {
		if slices.Contains(found, line) != want {
			ts.Fatalf("%q in a session: want %v, by the policy %+v", line, want, *policy)
		}
	}
	fmt.Fprintf(ts.Stdout(), "said %d paths and %d variables of %d and %d\n", len(said.paths), len(said.variables), len(most.paths), len(most.variables))
}

// printed is what enter --print-policy says of an environment, and perhaps a profile.
func printed(ts *testscript.TestScript, args ...string) *engine.Policy {
	command := []string{"enter", args[0], "--print-policy", "--json"}
	if len(args) == 2 {
		command = append(command, "--profile", args[1])
	}
	ts.Check(ts.Exec("karapace", command...))
	var p engine.Policy
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &p))
	return &p
}

// reached is what a policy says that a session has of the host.
type reached struct {
	paths     map[string]string // with what is said in brackets
	variables []string
}

func reachable(p *engine.Policy) reached {
	r := reached{paths: map[string]string{}, variables: slices.Clone(p.PassEnv)}
	add := func(list []string) {
		for _, text := range list {
			path, note, _ := strings.Cut(text, " (")
			r.paths[path] = note
		}
	}
	for _, t := range p.Things {
		add(t.Paths)
		r.variables = append(r.variables, t.Env...)
	}
	add(p.Mounts)
	return r
}
