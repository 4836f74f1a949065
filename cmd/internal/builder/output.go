package builder

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage/ociimage"
)

// stream hands write the output, through a compression, and tells what came out.
func stream(ctx context.Context, c ociimage.Compression, write func(io.Writer) error) (*wire.ExportResult, error) {
	out, err := newOutput(ctx)
	if err != nil {
		return nil, outputFailure(err)
	}
	z, err := c.Writer(out)
	if err != nil {
		return nil, err
	}
	if err = write(z); err == nil {
		err = z.Close()
	}
	if err == nil && out.file {
		err = out.f.Sync()
	}
	if err != nil {
		return nil, outputFailure(err)
	}
	return &wire.ExportResult{Digest: out.digester.Digest(), Size: out.size}, nil
}

// output is where a stream goes.
type output struct {
	ctx      context.Context
	f        *os.File
	file     bool // a regular one, which never keeps a writer waiting for a reader
	digester digest.Digester
	size     int64
}

func newOutput(ctx context.Context) (*output, error) {
	o := &output{ctx: ctx, f: os.NewFile(wire.OutputFD, "output"), digester: digest.SHA256.Digester()}
	info, err := o.f.Stat()
	o.file = err == nil && info.Mode().IsRegular()
	return o, err
}

func (o *output) Write(p []byte) (n int, err error) {
	if o.file {
		n, err = o.f.Write(p)
	} else {
		n, err = o.pipe(p)
	}
	o.digester.Hash().Write(p[:n])
	o.size += int64(n)
	return n, err
}

// atomic is how much a pipe that can be written to takes without waiting: PIPE_BUF, pipe(7).
const atomic = 4096

// pipe writes what a reader may keep waiting for ever: not longer than the context. The descriptor is the user's too, and
// stays as it is.
func (o *output) pipe(p []byte) (n int, err error) {
	fds := []unix.PollFd{{Fd: int32(o.f.Fd()), Events: unix.POLLOUT}}
	for n < len(p) && err == nil {
		if err := context.Cause(o.ctx); err != nil {
			return n, err
		}
		const wait = 200 // ms
		switch ready, perr := unix.Poll(fds, wait); {
		case perr != nil && perr != unix.EINTR:
			return n, perr
		case ready == 0 || perr != nil:
			continue
		}
		var done int
		done, err = o.f.Write(p[n:min(n+atomic, len(p))])
		n += done
	}
	return n, err
}

// outputError is a failure of the place that something is exported to, not of the store.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// outputFailure gives what went wrong with writing its kind. What is wrong with a layer has one.
func outputFailure(err error) error {
	var have *failure.Error
	switch {
	case err == nil || errors.As(err, &have) || errors.Is(err, context.Canceled):
		return err
	case readerGone(err):
		return failure.New(failure.Interrupted, &outputError{errors.New("whoever read the output has stopped")}, "")
	}
	return failure.Output(&outputError{err})
}
