package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// call has karapace-store do one operation inside the user namespace and decodes its result. files are its descriptors
// from wire.OutputFD on, and stay the caller's.
func (e *Engine) call(ctx context.Context, s *storage.Store, req wire.Request, result any, files ...*os.File) error {
	mapping, err := e.mapping()
	if err != nil {
		return err
	}
	return e.callIn(ctx, mapping, s, req, result, files...)
}

// callIn is call in the user namespace of a mapping.
func (e *Engine) callIn(ctx context.Context, mapping *userns.Mapping, s *storage.Store, req wire.Request, result any, files ...*os.File) error {
	req.Store, req.Overlay = s.Root(), e.Overlay
	req.User = wire.User{UID: e.User.UID, GID: e.User.GID, Name: e.User.Name, Home: e.User.Home, Shell: e.User.Shell}
	req.Rootless = mapping != nil
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	if _, err := os.Stat(e.StoreProgram); err != nil {
		return failure.New(failure.Backend, fmt.Errorf("karapace-store is missing: %w", err), "install it beside karapace")
	}
	return e.converse(ctx, mapping, body, result, files)
}

// converse starts karapace-store, hands it the request and follows its answer to the end.
func (e *Engine) converse(ctx context.Context, mapping *userns.Mapping, body []byte, result any, files []*os.File) error {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer in.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		return fmt.Errorf("make pipe: %w", err)
	}
	defer out.Close()
	p, err := userns.Start(mapping, &userns.Command{
		Path: e.StoreProgram, Args: append([]string{"karapace-store"}, e.Words...), Env: e.storeEnv(), Dir: "/",
		Files: append([]*os.File{theirIn, theirOut, os.Stderr}, files...),
	})
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		return failure.New(failure.Backend, fmt.Errorf("start karapace-store: %w", err), "karapace doctor")
	}
	stop := context.AfterFunc(ctx, func() { p.Signal(unix.SIGTERM) })
	defer stop()
	go func() {
		in.Write(body)
		in.Close()
	}()
	answer, streamErr := e.events(out, result)
	status, waitErr := p.Wait()
	switch {
	case ctx.Err() != nil:
		return failure.New(failure.Interrupted, errors.New("interrupted; the store is as it was"), "")
	case answer != nil:
		return &failure.Error{Kind: answer.Kind, Err: errors.New(answer.Message), Hint: answer.Hint, Reason: answer.Reason}
	case streamErr != nil && waitErr == nil && status.Signaled():
		return fmt.Errorf("karapace-store died of signal %s", status.Signal())
	default:
		return streamErr
	}
}

// storeEnv is all that karapace-store learns of the user's environment: how to reach servers.
func (e *Engine) storeEnv() []string {
	env := []string{"PATH=" + systemPath}
	for _, n := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v := e.Getenv(n); v != "" {
			env = append(env, n+"="+v)
		}
	}
	return env
}

// receiver is a result of which parts come before the end.
type receiver interface {
	receive(changes []byte)
}

// events reads the answer to its end. It returns the error the program told, if any.
func (e *Engine) events(r io.Reader, result any) (*wire.Error, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var ev wire.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			return nil, fmt.Errorf("karapace-store said something unexpected: %w", err)
		}
		switch {
		case ev.Error != nil:
			return ev.Error, nil
		case ev.Result != nil:
			return nil, json.Unmarshal(ev.Result, result)
		case ev.Transfer != nil && ev.Transfer.End:
			e.Progress.TransferDone(ev.Transfer.What, ev.Transfer.Files, ev.Transfer.Done)
		case ev.Transfer != nil:
			e.Progress.Transfer(ev.Transfer.What, ev.Transfer.Files, ev.Transfer.Done, ev.Transfer.Total)
		case ev.Step != "":
			e.Progress.Step(ev.Step)
		case len(ev.Changes) > 0:
			if r, ok := result.(receiver); ok {
				r.receive(ev.Changes)
			}
		case ev.Note != "":
			e.Progress.Note(strings.TrimSpace(ev.Note))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read from karapace-store: %w", err)
	}
	return nil, errors.New("karapace-store ended without an answer")
}
