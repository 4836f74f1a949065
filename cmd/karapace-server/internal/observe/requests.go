package observe

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// outcome is what is known of a request when it has been answered.
type outcome struct {
	part, method   string
	status         int
	received, sent int64
	seconds        float64
}

// knownMethods bound the values of a label that clients choose.
var knownMethods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true}

// Requests logs and counts what next answers. The functions name a request's part of the API and its repository.
func Requests(log *slog.Logger, m *Metrics, part, repository func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		id := rand.Text()
		counted := &countedWriter{ResponseWriter: w, status: http.StatusOK}
		counted.Header().Set("X-Request-Id", id)
		var in *countedBody
		if r.Body != nil && r.Body != http.NoBody {
			in = &countedBody{ReadCloser: r.Body}
			r.Body = in
		}
		o := outcome{part: part(r), method: "other"}
		if knownMethods[r.Method] {
			o.method = r.Method
		}
		attrs := []any{"id", id, "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "repository", repository(r), "agent", r.UserAgent()}
		if user, _, ok := r.BasicAuth(); ok {
			attrs = append(attrs, "user", user)
		}
		m.running.Inc()
		defer func() {
			m.running.Dec()
			o.status, o.sent, o.seconds = counted.status, counted.n, time.Since(begun).Seconds()
			if in != nil {
				o.received = in.n
			}
			m.count(o)
			log.Log(r.Context(), levelFor(o.status), "request", append(attrs, "status", o.status, "received", o.received, "sent", o.sent, "seconds", o.seconds)...)
		}()
		next.ServeHTTP(counted, r)
	})
}

func levelFor(status int) slog.Level {
	if status >= http.StatusInternalServerError {
		return slog.LevelError
	}
	return slog.LevelInfo
}

type countedWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
	n      int64
}

func (w *countedWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedWriter) Write(p []byte) (int, error) {
	w.wrote = true
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type countedBody struct {
	io.ReadCloser
	n int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}
