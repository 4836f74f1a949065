package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// PolicyError is a request that must not be made, or one that its server refuses for good: asking again is no use.
type PolicyError struct{ Err error }

func (e *PolicyError) Error() string { return e.Err.Error() }
func (e *PolicyError) Unwrap() error { return e.Err }

// Permanent tells package fetch not to try again.
func (e *PolicyError) Permanent() bool { return true }

func refuse(format string, args ...any) error { return &PolicyError{fmt.Errorf(format, args...)} }

// guard is the last one to see every request, those of the token flow too.
type guard struct {
	next      http.RoundTripper
	host      string   // the registry's, as its URLs have it
	plain     bool     // it speaks http
	authHosts []string // that may see its credentials, beside itself
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return g.next.RoundTrip(req)
}

func (g *guard) check(req *http.Request) error {
	own := strings.EqualFold(req.URL.Host, g.host)
	switch {
	case req.URL.User != nil:
		return refuse("the address %s, which %s answers with, has a password in it", req.URL.Host, g.host)
	case req.URL.Scheme == "https":
	case req.URL.Scheme != "http" || !g.plain:
		return refuse("%s leads to %s://%s: nothing but https is followed from there", g.host, req.URL.Scheme, req.URL.Host)
	case !own && !loopback(req.URL.Hostname()):
		return refuse("%s leads to http://%s, which is not encrypted", g.host, req.URL.Host)
	}
	secret := req.Header.Get("Authorization") != "" || req.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
	if secret && !own && !g.mayAuthorise(req.URL) {
		return refuse("%s wants its password sent to %s; if that is right, allow it in config.toml: [registries.%q] auth_hosts = [%q]",
			g.host, req.URL.Host, g.host, req.URL.Host)
	}
	return nil
}

// mayAuthorise tells whether a host may see the registry's credentials: over https the same machine's other ports too,
// since its certificate names the host.
func (g *guard) mayAuthorise(u *url.URL) bool {
	if slices.Contains(g.authHosts, strings.ToLower(u.Host)) {
		return true
	}
	own, _, err := net.SplitHostPort(g.host)
	if err != nil {
		own = g.host
	}
	return u.Scheme == "https" && !g.plain && strings.EqualFold(u.Hostname(), own) && !loopback(own)
}

// knownAuthHosts are the hosts that grant tokens for registries that are on another one.
func knownAuthHosts(registry string) []string {
	switch registry {
	case dockerHub:
		return []string{"auth.docker.io"}
	case "registry.gitlab.com":
		return []string{"gitlab.com"}
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// authorised adds credentials to requests for the registry itself, and follows no redirect: who calls it does, with a
// new request that comes through here again.
type authorised struct {
	auth *auth.Client
	next http.RoundTripper
	ref  registry.Reference
	host string
}

func (a *authorised) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.EqualFold(req.URL.Host, a.host) {
		return a.next.RoundTrip(req)
	}
	ctx := auth.AppendRepositoryScope(req.Context(), a.ref, auth.ActionPull)
	out := req.Clone(ctx)
	if strings.Contains(req.URL.Path, "/manifests/") && req.Method == http.MethodGet && out.Header.Get("Accept") == "" {
		out.Header["Accept"] = manifestTypes()
	}
	resp, err := a.auth.Do(out)
	if err != nil {
		return nil, a.explain(err)
	}
	return resp, nil
}

// explain tells what cannot be helped by trying again.
func (a *authorised) explain(err error) error {
	var answer *errcode.ErrorResponse
	var policy *PolicyError
	switch {
	case errors.As(err, &policy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return refuse("%s wants a user and a password, and there is none for it in your auth.json (podman login %[1]s, or docker login %[1]s)", a.ref.Registry)
	case errors.As(err, &answer) && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests:
		return refuse("%s grants no access: the server answered %d %s", a.ref.Registry, answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return err
}

// client makes the chain: requests are authorised, then guarded, then sent.
func (c *Client) chain(base http.RoundTripper, o Options) http.RoundTripper {
	g := &guard{next: base, host: c.host, plain: c.plain, authHosts: slices.Concat(knownAuthHosts(c.host), lower(o.AuthHosts))}
	a := &auth.Client{
		Client:   &http.Client{Transport: g, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Cache:    auth.NewCache(),
		ClientID: "karapace",
		Credential: func(_ context.Context, host string) (auth.Credential, error) {
			if !strings.EqualFold(host, c.host) {
				return auth.EmptyCredential, nil
			}
			return auth.Credential{Username: o.Credential.Username, Password: o.Credential.Password, RefreshToken: o.Credential.IdentityToken, AccessToken: o.Credential.RegistryToken}, nil
		},
	}
	return &authorised{auth: a, next: g, ref: c.ref, host: c.host}
}

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}
