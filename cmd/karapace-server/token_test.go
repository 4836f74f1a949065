package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// A token lets its holder do what it says, where it says, and nothing else.
func TestToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *config.Config) {
		c.Auth = config.Auth{Kind: "token", Token: config.Token{Realm: "https://auth.example/token", Service: "registry", Issuer: "auth", JWKS: writeFile(t, "jwks", string(set))}}
	})
	sign := func(key *ecdsa.PrivateKey, audience, repo string, age time.Duration, actions ...string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Add(-age)
		claims := map[string]any{"iss": "auth", "sub": "ann", "aud": audience, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "1",
			"access": []map[string]any{{"type": "repository", "name": repo, "actions": actions}}}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	if a := s.do("GET", "/v2/", nil).want(t, 401); !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `Bearer realm="https://auth.example/token",service="registry"`) {
		t.Errorf("%s", a.header.Get("WWW-Authenticate"))
	}
	upload, tags := "/v2/app/blobs/uploads/", "/v2/app/referrers/sha256:"+strings.Repeat("0", 64)
	s.do("POST", upload, nil, "Authorization", sign(key, "registry", "app", 0, "pull", "push")).want(t, 202)
	s.do("GET", tags, nil, "Authorization", sign(key, "registry", "app", 0, "pull")).want(t, 200)
	for name, token := range map[string]string{
		"pull only": sign(key, "registry", "app", 0, "pull"), "another repository": sign(key, "registry", "apq", 0, "pull", "push"), "another case": sign(key, "registry", "App", 0, "pull", "push"),
		"old": sign(key, "registry", "app", time.Hour, "pull", "push"), "another service": sign(key, "elsewhere", "app", 0, "pull", "push"),
		"another key": sign(other, "registry", "app", 0, "pull", "push"), "no signature": strings.TrimRight(sign(key, "registry", "app", 0, "pull", "push"), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"),
	} {
		if a := s.do("POST", upload, nil, "Authorization", token); a.status != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	s.do("GET", tags, nil, "Authorization", sign(key, "registry", "other", 0, "pull")).want(t, 401)
}
