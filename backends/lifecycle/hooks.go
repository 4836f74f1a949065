package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
)

// hookRunner runs one hook with the state on its standard input.
type hookRunner func(ctx context.Context, h *rspec.Hook, stdin []byte) error

// callHooks calls hooks in their order, until one fails.
func callHooks(ctx context.Context, kind string, hooks []rspec.Hook, state *rspec.State, run hookRunner) error {
	if len(hooks) == 0 {
		return nil
	}
	stdin, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("call %s hooks: %w", kind, err)
	}
	for i := range hooks {
		if err := callHook(ctx, &hooks[i], stdin, run); err != nil {
			return fmt.Errorf("the %s hook %s: %w", kind, hooks[i].Path, err)
		}
	}
	return nil
}

func callHook(ctx context.Context, h *rspec.Hook, stdin []byte, run hookRunner) error {
	if !filepath.IsAbs(h.Path) {
		return errors.New("its path is not absolute")
	}
	if h.Timeout != nil {
		if *h.Timeout <= 0 {
			return errors.New("its timeout must be greater than zero")
		}
		limit := time.Duration(*h.Timeout) * time.Second
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not end within %s", limit))
		defer cancel()
	}
	err := run(ctx, h, stdin)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// runHook runs a hook in the namespaces of the runtime.
func runHook(ctx context.Context, h *rspec.Hook, stdin []byte) error {
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = append([]string{}, h.Env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &limited{buf: &said}
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if text := bytes.TrimSpace(said.Bytes()); err != nil && len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// limited keeps the first of what is written to it.
type limited struct{ buf *bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if room := 1024 - l.buf.Len(); room > 0 {
		l.buf.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}

// inside runs a hook in the namespaces of the container.
func (c *container) inside(ctx context.Context, h *rspec.Hook, stdin []byte) error {
	pidfd, err := c.pidfd()
	if err != nil {
		return fmt.Errorf("open the container's process: %w", err)
	}
	defer unix.Close(pidfd)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	go func() {
		w.Write(stdin) // a hook need not read it
		w.Close()
	}()
	hook := &nsproc.Hook{Pidfd: pidfd, Flags: c.rec.Join, UserNS: c.rec.UserNS, Path: h.Path, Args: h.Args, Env: h.Env, Stdio: [3]int{int(r.Fd()), int(null.Fd()), int(null.Fd())}}
	return hook.Run(ctx)
}

// poststop calls the hooks after a container's end. One that fails is only told.
func (c *container) poststop(ctx context.Context, hooks *rspec.Hooks) {
	for i := range hooks.Poststop {
		state := c.hookState(rspec.StateStopped)
		state.Pid = 0
		if err := callHooks(ctx, "poststop", hooks.Poststop[i:i+1], state, runHook); err != nil {
			c.store.Warn(err.Error())
		}
	}
}
