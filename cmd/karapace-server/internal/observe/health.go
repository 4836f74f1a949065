package observe

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// Health answers probes: /healthz while the process lives, /readyz while it should be sent requests.
type Health struct {
	Storage  func(context.Context) error // whether storage answers
	draining atomic.Bool
}

// Drain makes the server not ready, so that load balancers go elsewhere.
func (h *Health) Drain() { h.draining.Store(true) }

// Mount adds the probes to a mux.
func (h *Health) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case h.draining.Load():
			say(w, http.StatusServiceUnavailable, "stopping")
		case h.Storage(r.Context()) != nil:
			say(w, http.StatusServiceUnavailable, "storage does not answer")
		default:
			say(w, http.StatusOK, "ok")
		}
	})
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the prober may be gone
}
