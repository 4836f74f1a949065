package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// waiting is a command that says when it runs, and goes on.
var waiting = []string{"/bin/sh", "-c", "echo up; exec sleep 86400"}

// hold starts a container that runs until the group is closed, and returns when it does.
func (l *lab) hold(ctx context.Context, g *group, start, stop []string) error {
	if start[len(start)-1] == "--" {
		start = append(start, waiting...)
	}
	cmd := exec.Command(start[0], start[1:]...)
	cmd.Dir, cmd.Env = l.home, l.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait()
		return fmt.Errorf("%s: %w: %s", strings.Join(start, " "), err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	if line != "up\n" {
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("%s said %q", strings.Join(start, " "), line)
	}
	g.closers = append(g.closers, func() {
		l.do(context.Background(), stop...)
		gone := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		gone.Stop()
	})
	return nil
}
