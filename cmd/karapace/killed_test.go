package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that is killed, at whatever moment, loses nothing that was written, leaves an environment that can be entered
// and nothing that gc does not find.
func TestKilled(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	b.write("the first")
	b.karapace("commit", "t")
	commands := [][]string{{"commit", "t"}, {"restore", "t", "built"}, {"rebuild", "t.toml", "--locked"}, {"restore", "t", "built", "--discard"}}
	const rounds = 24
	for i := range rounds {
		text, command := fmt.Sprint("round ", i), commands[i%len(commands)]
		b.write(text)
		finished := b.kill(time.Duration(i)*4*time.Millisecond, command...)
		if strings.Contains(strings.Join(command, " "), "discard") && b.read() != text {
			continue
		}
		if !b.find(text) {
			t.Errorf("%s, killed after %d ms (finished: %v): %q is lost", command[0], i*4, finished, text)
		}
	}
	b.karapace("gc")
	if got := b.karapace("gc", "--dry-run"); strings.Contains(got, "drift") || strings.Contains(got, "scratch") {
		t.Errorf("left behind:\n%s", got)
	}
	b.karapace("verify", "t")
	if !b.find("the first") {
		t.Error("the first snapshot is lost")
	}
}

func (b *stateBench) write(text string) {
	b.t.Helper()
	b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", `mkdir -p /srv && echo "$1" >/srv/text && head -c 4000000 /dev/urandom >/srv/bulk`, "sh", text)
}

func (b *stateBench) read() string {
	b.t.Helper()
	return strings.TrimSpace(b.karapace("exec", "t", "--", "sh", "-c", "cat /srv/text || true"))
}

// kill starts a command and kills it, with the programs it has started, after a time.
func (b *stateBench) kill(after time.Duration, args ...string) (finished bool) {
	b.t.Helper()
	cmd := b.command(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(b.t, cmd.Start())
	time.Sleep(after)
	children := descendants(cmd.Process.Pid)
	syscall.Kill(cmd.Process.Pid, syscall.SIGKILL)
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return cmd.Wait() == nil
}

// descendants are the processes a process has started, with those they have started.
func descendants(pid int) (all []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		out, _ := os.ReadFile(file) // gone with its process
		for _, field := range strings.Fields(string(out)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// find looks for a text in the environment as it is, then in its snapshots, the newest first.
func (b *stateBench) find(text string) bool {
	b.t.Helper()
	if b.read() == text {
		return true
	}
	var all []struct{ Snapshot string }
	must(b.t, json.Unmarshal([]byte(b.karapace("snapshots", "t", "--json")), &all))
	for i := len(all) - 1; i >= 0; i-- {
		b.karapace("restore", "t", all[i].Snapshot)
		if b.read() == text {
			return true
		}
	}
	return false
}
