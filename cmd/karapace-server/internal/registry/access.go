package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

const (
	realm = "karapace"
	// remembered is how many logins are kept, and for how long: bcrypt takes tens of milliseconds, a push asks a hundred times.
	remembered  = 1024
	rememberFor = 5 * time.Minute
)

// access decides who may do what. It adds to the library's controllers what they lack: pulling without credentials,
// users that may only pull, and a memory of good logins.
type access struct {
	inner     auth.AccessController
	anonymous bool
	pushers   []string
	file      string // of users, whose changes end the memory
	slots     chan struct{}

	mu    sync.Mutex
	known map[[sha256.Size]byte]time.Time
}

// newAccess gives nil where everybody may do everything.
func newAccess(c config.Auth) (*access, error) {
	a := &access{slots: make(chan struct{}, runtime.NumCPU()), known: map[[sha256.Size]byte]time.Time{}}
	var err error
	switch c.Kind {
	case "none":
		return nil, nil
	case "htpasswd":
		a.anonymous, a.pushers, a.file = c.AnonymousPull, c.Pushers, c.Htpasswd
		a.inner, err = auth.GetAccessController("htpasswd", map[string]any{"realm": realm, "path": c.Htpasswd})
	case "token":
		o := map[string]any{"realm": c.Token.Realm, "service": c.Token.Service, "issuer": c.Token.Issuer}
		if c.Token.Certificates != "" {
			o["rootcertbundle"] = c.Token.Certificates
		}
		if c.Token.JWKS != "" {
			o["jwks"] = c.Token.JWKS
		}
		a.inner, err = auth.GetAccessController("token", o)
	default:
		err = fmt.Errorf("unknown kind %q", c.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	return a, nil
}

// Authorized implements auth.AccessController.
func (a *access) Authorized(r *http.Request, wanted ...auth.Access) (*auth.Grant, error) {
	if a.anonymous && nameless(r) && pullOnly(r, wanted) {
		return &auth.Grant{}, nil
	}
	grant, err := a.login(r, wanted)
	if err != nil || len(a.pushers) == 0 || pullOnly(r, wanted) || slices.Contains(a.pushers, grant.User.Name) {
		return grant, err
	}
	return nil, denied{user: grant.User.Name}
}

// pullOnly tells whether a request is for pulling and nothing else. The ping is, since clients begin with it.
func pullOnly(r *http.Request, wanted []auth.Access) bool {
	if isWrite(r) {
		return false
	}
	for _, w := range wanted {
		if w.Type != "repository" || w.Action != "pull" {
			return false
		}
	}
	return len(wanted) > 0 || r.URL.Path == "/v2/" || r.URL.Path == "/v2"
}

// nameless tells whether a request has no credentials, or the empty ones that some clients send for none.
func nameless(r *http.Request) bool {
	if r.Header.Get("Authorization") == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	return ok && user == "" && password == ""
}

func (a *access) login(r *http.Request, wanted []auth.Access) (*auth.Grant, error) {
	if a.file == "" {
		return a.inner.Authorized(r, wanted...)
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return a.inner.Authorized(r, wanted...)
	}
	key, err := a.key(user, password)
	if err != nil {
		return nil, err
	}
	if a.remembers(key) {
		return &auth.Grant{User: auth.UserInfo{Name: user}}, nil
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	grant, err := a.inner.Authorized(r, wanted...)
	if err == nil {
		a.remember(key)
	}
	return grant, err
}

// key binds a login to the state of the file of users, so that a change there ends it.
func (a *access) key(user, password string) ([sha256.Size]byte, error) {
	fi, err := os.Stat(a.file)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("file of users: %w", err)
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %d:%s%s", fi.ModTime().UnixNano(), fi.Size(), len(user), user, password)), nil
}

func (a *access) remembers(key [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.known[key]
	return ok && time.Now().Before(until)
}

func (a *access) remember(key [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= remembered {
		clear(a.known)
	}
	a.known[key] = time.Now().Add(rememberFor)
}

// denied is for users who are known but may not.
type denied struct{ user string }

func (d denied) Error() string { return "user " + d.user + " may only pull" }

// SetHeaders makes denied a challenge, which the library answers with 401; the handler turns it into 403.
func (d denied) SetHeaders(_ *http.Request, w http.ResponseWriter) { w.Header().Set(deniedHeader, "1") }

// deniedHeader never leaves the server.
const deniedHeader = "Karapace-Denied"

// allow asks for actions on a repository, for what is done before or without the library.
func (a *access) allow(w http.ResponseWriter, r *http.Request, repo string, actions ...string) bool {
	if a == nil {
		return true
	}
	var wanted []auth.Access
	for _, action := range actions {
		wanted = append(wanted, auth.Access{Resource: auth.Resource{Type: "repository", Name: repo}, Action: action})
	}
	_, err := a.Authorized(r, wanted...)
	var no denied
	var challenge auth.Challenge
	switch {
	case err == nil:
		return true
	case errors.As(err, &no):
		forbidden().write(w)
	case errors.As(err, &challenge):
		challenge.SetHeaders(r, w)
		(&refusal{http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"}).write(w)
	case errors.Is(err, context.Canceled):
	default:
		(&refusal{http.StatusInternalServerError, "UNKNOWN", "authentication does not work here"}).write(w)
	}
	return false
}

func forbidden() *refusal {
	return &refusal{http.StatusForbidden, "DENIED", "this user may only pull"}
}
