package registry

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
)

// refusal is an answer that is an error, in the form of the distribution specification.
type refusal struct {
	status  int
	code    string
	message string
}

func (f *refusal) write(w http.ResponseWriter) {
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]problem{"errors": {{f.code, f.message}}})
	if err != nil {
		panic(err) // strings only
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}

// reply stands between the library and the client. Before the status goes out, amend may change the header or give a
// refusal, which then is sent instead of everything the library says.
type reply struct {
	http.ResponseWriter
	amend    func(status int, h http.Header) *refusal
	started  bool
	replaced bool
}

func (w *reply) WriteHeader(status int) {
	if w.started {
		return
	}
	w.started = true
	if w.amend != nil {
		if bad := w.amend(status, w.Header()); bad != nil {
			w.replaced = true
			bad.write(w.ResponseWriter)
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *reply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.replaced {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is never asked for by the API.
func (w *reply) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrNotSupported }
