package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/karapace/karapace/hack/faults"
)

// Four clients at one store, which are killed now and then, leave it whole.
func TestFaultsClients(t *testing.T) {
	t.Parallel()
	rounds := 60
	if inFull() {
		rounds = 2000
	}
	crowd(t, 4, func(done int, _ time.Time) bool { return done >= rounds })
}

// So do sixteen, for as long as KARAPACE_FAULTS_TIME says.
func TestFaultsCrowd(t *testing.T) {
	limit := 10 * time.Second
	if text := os.Getenv("KARAPACE_FAULTS_TIME"); text != "" {
		var err error
		limit, err = time.ParseDuration(text)
		must(t, err)
	} else if inFull() {
		limit = 10 * time.Minute
	}
	crowd(t, 16, func(_ int, began time.Time) bool { return time.Since(began) > limit })
}

// crowd lets clients give random commands until it is enough; half of them is killed within half a second.
func crowd(t *testing.T, clients int, enough func(killed int, began time.Time) bool) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	c := &commotion{faultBench: newFaultBench(t, ""), began: time.Now()}
	for i := range 4 {
		text := fmt.Sprintf("manifest_version = 1\n[base]\nimage = \"./%s.tar\"\n[env]\nNUMBER = \"%d\"\n", []string{"base", "other"}[i%2], i)
		must(t, os.WriteFile(filepath.Join(c.dir, fmt.Sprintf("e%d.toml", i)), []byte(text), 0o644))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for !c.finished(enough) {
				c.step(random)
			}
		})
	}
	all.Wait()
	c.whole()
	for i := range 4 {
		c.karapace("rebuild", fmt.Sprintf("e%d.toml", i), "--name", fmt.Sprintf("e%d", i), "--force")
	}
	c.whole()
	t.Logf("%d commands, %d of them killed, %d refused: rounds of %d clients", c.commands, c.killed, c.refused, clients)
}

// commotion is a store with many clients.
type commotion struct {
	*faultBench
	began                     time.Time
	mu                        sync.Mutex
	commands, killed, refused int
	failed                    bool
	failures                  int
}

func (c *commotion) finished(enough func(int, time.Time) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed || enough(c.killed, c.began)
}

// refusals are what commands may say that meet each other.
var refusals = []string{
	"is running", "there is no environment", "is frozen", "Read-only file system", "is archived", "nothing to commit", "is taken by", "is built already", "would go, and with it",
	"is used by", "has just been", "was renamed to", "no snapshot", "is being changed", "was changed by another command", "satisfies", "is there already", "stopped", "ended", "is ambiguous", "is what environment", "is what others lie on",
}

// step gives one command, which ends by itself or is killed with all it has started.
func (c *commotion) step(random *rand.Rand) {
	args := c.any(random)
	cmd := c.command(args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		c.fail("start: %v", err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.Minute
	kill := random.IntN(2) == 0
	if kill {
		limit = time.Duration(random.IntN([]int{50, 500}[random.IntN(2)])) * time.Millisecond // most commands take less than 50
	}
	select {
	case err := <-ended:
		c.judge(args, err, out.String())
	case <-time.After(limit):
		for _, pid := range append(faults.Descendants(cmd.Process.Pid), cmd.Process.Pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		<-ended
		c.mu.Lock()
		c.killed++
		c.commands++
		c.mu.Unlock()
		if !kill {
			c.fail("%s did not end within %s:\n%s", strings.Join(args, " "), limit, out.String())
		}
	}
}

// any is a random command.
func (c *commotion) any(random *rand.Rand) []string {
	n := random.IntN(4)
	env, file := fmt.Sprintf("e%d", n), fmt.Sprintf("e%d.toml", n)
	all := [][]string{
		{"build", file, "--name", env}, {"build", file, "--name", env}, {"rebuild", file, "--name", env, "--force"}, {"lock", file},
		{"exec", env, "-u", "0", "--", "sh", "-c", fmt.Sprintf("echo %d >>/srv/text", random.Int())}, {"exec", env, "--", "cat", "/etc/os-release"},
		{"run", env, "--", "true"}, {"commit", env}, {"restore", env, "built"}, {"restore", env, "built", "--discard"},
		{"freeze", env}, {"unfreeze", env}, {"archive", env}, {"unarchive", env}, {"stop", env}, {"rename", env, fmt.Sprintf("e%d", random.IntN(4))},
		{"destroy", env, "--force"}, {"gc"}, {"gc", "--dry-run"}, {"list"}, {"inspect", env}, {"snapshots", env}, {"diff", env}, {"verify", env},
	}
	return all[random.IntN(len(all))]
}

// judge counts a command that has ended by itself, and complains when it should not have ended so.
func (c *commotion) judge(args []string, err error, out string) {
	c.mu.Lock()
	c.commands++
	if err != nil {
		c.refused++
	}
	c.mu.Unlock()
	if err == nil {
		return
	}
	ee, ok := err.(*exec.ExitError)
	session := args[0] == "exec" || args[0] == "run"
	if ok && session && slices.Contains([]int{128 + int(syscall.SIGTERM), 128 + int(syscall.SIGKILL)}, ee.ExitCode()) { // by stop, by --force, or with its container
		return
	}
	if !ok || strings.Contains(out, "panic") || !slices.ContainsFunc(refusals, func(s string) bool { return strings.Contains(out, s) }) || ee.ExitCode() == exitStore {
		c.fail("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (c *commotion) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = !inFull() || c.failures > 20
	c.failures++
	c.t.Errorf(format, args...)
}
