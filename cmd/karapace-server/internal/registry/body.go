package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// slowest is the rate that a body must keep after its first moments, in bytes a second.
const slowest = 1 << 10

var errSlow = errors.New("the body comes too slowly")

// body reads what a client sends, and gives up on one that stands still or trickles.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	begun   time.Time
	n       int64
	atEnd   func() error // runs once, before the reader learns of the end
}

func newBody(w http.ResponseWriter, r *http.Request, stall time.Duration) *body {
	b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), stall: stall, begun: time.Now()}
	b.deadline(time.Now().Add(stall))
	return b
}

func (b *body) deadline(t time.Time) { _ = b.control.SetReadDeadline(t) } // a connection without deadlines is a test's

func (b *body) Read(p []byte) (int, error) {
	b.deadline(time.Now().Add(b.stall))
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if passed := time.Since(b.begun); err == nil && passed > b.stall && float64(b.n) < slowest*passed.Seconds() {
		return n, errSlow
	}
	if errors.Is(err, io.EOF) {
		b.deadline(time.Time{}) // or the server takes the silence after the body for a lost client
		if b.atEnd != nil {
			end := b.atEnd
			b.atEnd = nil
			if failed := end(); failed != nil {
				return n, failed
			}
		}
	}
	return n, err
}

// pacedWriter gives up on a client that does not take what it asked for.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func (w *pacedWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.stall)) // as above
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// held is a shared lock that a request takes at some point and has until it ends.
type held struct{ c io.Closer }

func (h *held) take(ctx context.Context, l Lock) error {
	c, err := l.Shared(ctx)
	if err != nil {
		return err
	}
	h.c = c
	return nil
}

func (h *held) leave() {
	if h.c != nil {
		_ = h.c.Close() // closing is what unlocks; it cannot fail on an open file
	}
}
