package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// home is a directory with files, and helpers that answer.
func home(t *testing.T, files map[string]string, env map[string]string, helpers map[string]string) *Finder {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return &Finder{
		Home: dir, Getenv: func(name string) string { return strings.ReplaceAll(env[name], "$HOME", dir) },
		Run: func(_ context.Context, program, server string) ([]byte, error) {
			answer, ok := helpers[program+" "+server]
			if !ok {
				return []byte("credentials not found in native keychain"), errors.New("exit status 1")
			}
			if answer == "fail" {
				return nil, errors.New("the key ring is locked")
			}
			return []byte(answer), nil
		},
	}
}

const (
	annAuth = "YW5uOnNlY3JldDp3b3Jk" // ann:secret:word
	bobAuth = "Ym9iOmJvYg=="         // bob:bob
)

func TestFind(t *testing.T) {
	ann, bob := Credential{Username: "ann", Password: "secret:word"}, Credential{Username: "bob", Password: "bob"}
	runtime := map[string]string{"XDG_RUNTIME_DIR": "$HOME/run"}
	for name, c := range map[string]struct {
		files, env, helpers map[string]string
		host, repo          string
		want                Credential
	}{
		"nothing at all": {host: "r.example.org"},
		"podman's file": {files: map[string]string{"run/containers/auth.json": `{"auths":{"r.example.org":{"auth":"` + annAuth + `"}}}`, ".docker/config.json": `{"auths":{"r.example.org":{"auth":"` + bobAuth + `"}}}`},
			env: runtime, host: "r.example.org", want: ann},
		"docker's file after it": {files: map[string]string{"run/containers/auth.json": `{"auths":{"other.example.org":{"auth":"` + annAuth + `"}}}`, ".docker/config.json": `{"auths":{"r.example.org":{"auth":"` + bobAuth + `"}}}`},
			env: runtime, host: "r.example.org", want: bob},
		"the user's configuration":         {files: map[string]string{".config/containers/auth.json": `{"auths":{"r.example.org:5000":{"auth":"` + annAuth + `"}}}`}, host: "r.example.org:5000", want: ann},
		"another port is another registry": {files: map[string]string{".config/containers/auth.json": `{"auths":{"r.example.org:5000":{"auth":"` + annAuth + `"}}}`}, host: "r.example.org"},
		"the named file only": {files: map[string]string{"a.json": `{}`, ".docker/config.json": `{"auths":{"r.example.org":{"auth":"` + bobAuth + `"}}}`},
			env: map[string]string{"REGISTRY_AUTH_FILE": "$HOME/a.json"}, host: "r.example.org"},
		"docker's directory": {files: map[string]string{"d/config.json": `{"auths":{"r.example.org":{"auth":"` + bobAuth + `"}}}`}, env: map[string]string{"DOCKER_CONFIG": "$HOME/d"}, host: "r.example.org", want: bob},
		"the nearest name": {files: map[string]string{".docker/config.json": `{"auths":{"r.example.org":{"auth":"` + bobAuth + `"},"r.example.org/team":{"auth":"` + annAuth + `"}}}`},
			host: "r.example.org", repo: "team/image", want: ann},
		"a name that only begins alike": {files: map[string]string{".docker/config.json": `{"auths":{"r.example.org/te":{"auth":"` + annAuth + `"}}}`}, host: "r.example.org", repo: "team/image"},
		"docker.io":                     {files: map[string]string{".docker/config.json": `{"auths":{"https://index.docker.io/v1/":{"auth":"` + annAuth + `"}}}`}, host: "docker.io", repo: "library/debian", want: ann},
		"a URL":                         {files: map[string]string{".docker/config.json": `{"auths":{"https://r.example.org/v1/":{"auth":"` + annAuth + `"}}}`}, host: "r.example.org", want: ann},
		"tokens": {files: map[string]string{".docker/config.json": `{"auths":{"r.example.org":{"identitytoken":"i","registrytoken":"r"}}}`},
			host: "r.example.org", want: Credential{IdentityToken: "i", RegistryToken: "r"}},
		"a helper for the host": {files: map[string]string{".docker/config.json": `{"credHelpers":{"r.example.org":"x"}}`},
			helpers: map[string]string{"docker-credential-x r.example.org": `{"ServerURL":"r.example.org","Username":"ann","Secret":"secret:word"}`}, host: "r.example.org", repo: "a", want: ann},
		"a helper's token": {files: map[string]string{".docker/config.json": `{"credsStore":"x"}`},
			helpers: map[string]string{"docker-credential-x r.example.org": `{"Username":"<token>","Secret":"i"}`}, host: "r.example.org", want: Credential{IdentityToken: "i"}},
		"a helper for all, docker.io":  {files: map[string]string{".docker/config.json": `{"credsStore":"x"}`}, helpers: map[string]string{"docker-credential-x https://index.docker.io/v1/": `{"Username":"bob","Secret":"bob"}`}, host: "docker.io", want: bob},
		"a helper that knows of none":  {files: map[string]string{".docker/config.json": `{"credsStore":"x"}`}, host: "r.example.org"},
		"an empty file":                {files: map[string]string{".docker/config.json": ``}, host: "r.example.org"},
		"an entry that a helper fills": {files: map[string]string{".docker/config.json": `{"auths":{"r.example.org":{}},"credsStore":"x"}`}, helpers: map[string]string{"docker-credential-x r.example.org": `{"Username":"bob","Secret":"bob"}`}, host: "r.example.org", want: bob},
	} {
		got, err := home(t, c.files, c.env, c.helpers).Find(t.Context(), c.host, c.repo)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// What cannot be read is told, and nothing of it is quoted.
func TestFindRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"auths":{"r.example.org":{"auth":"!secret!"}}}`:      "no base64",
		`{"auths":{"r.example.org":{"auth":"c2VjcmV0"}}}`:      "no colon",
		`{"auths":{"secret"`:                                   "not a file of credentials",
		`{"credHelpers":{"r.example.org":"../../bin/secret"}}`: "has no name of one",
		`{"credHelpers":{"r.example.org":"locked"}}`:           "docker-credential-locked: the key ring is locked",
		`{"credHelpers":{"r.example.org":"odd"}}`:              "something that is no credential",
		strings.Repeat(" ", sizeLimit+1):                       "larger than",
	} {
		f := home(t, map[string]string{".docker/config.json": text}, nil, map[string]string{"docker-credential-locked r.example.org": "fail", "docker-credential-odd r.example.org": "secret"})
		_, err := f.Find(t.Context(), "r.example.org", "team/image")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") && want != "has no name of one" {
			t.Errorf("%.60s: %v", text, err)
		}
	}
	f := home(t, nil, map[string]string{"REGISTRY_AUTH_FILE": "/dev/zero"}, nil)
	if _, err := f.Find(t.Context(), "r.example.org", "a"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
}
