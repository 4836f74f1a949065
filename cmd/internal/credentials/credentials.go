// Package credentials finds what a registry knows the user by, where podman, docker and their kin keep it.
//
// The files are containers-auth.json(5)'s and docker's config.json, the helpers are docker-credential-helpers'. It is
// done by the user's own process, with the user's environment: helpers talk to key rings of the session. It links next to
// nothing, since karapace does it.
package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Credential is what a registry knows somebody by; the zero value is nobody.
type Credential struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"`
	RegistryToken string `json:"registry_token,omitempty"`
}

// Finder knows where to look.
type Finder struct {
	Getenv func(string) string
	Home   string
	// Run runs a credential helper with a text on its standard input and returns its standard output.
	Run func(ctx context.Context, program, stdin string) ([]byte, error)
}

// file is the part of an auth.json or config.json that matters.
type file struct {
	Auths       map[string]entry  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

type entry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Find looks for the credential for a repository of a registry, given as HOST or HOST:PORT. Having none is no error.
func (f *Finder) Find(ctx context.Context, host, repository string) (Credential, error) {
	for _, path := range f.files() {
		doc, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Credential{}, err
		}
		c, err := f.in(ctx, doc, host, repository)
		if err != nil {
			return Credential{}, fmt.Errorf("%s: %w", path, err)
		}
		if c != (Credential{}) {
			return c, nil
		}
	}
	return Credential{}, nil
}

// files lists where credentials may be, the first that has one counts.
func (f *Finder) files() []string {
	if named := f.Getenv("REGISTRY_AUTH_FILE"); named != "" {
		return []string{named}
	}
	var list []string
	if dir := f.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		list = append(list, filepath.Join(dir, "containers", "auth.json"))
	}
	config := f.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) {
		config = filepath.Join(f.Home, ".config")
	}
	docker := f.Getenv("DOCKER_CONFIG")
	if docker == "" {
		docker = filepath.Join(f.Home, ".docker")
	}
	return append(list, filepath.Join(config, "containers", "auth.json"), filepath.Join(docker, "config.json"))
}

const sizeLimit = 1 << 20 // bytes of a file or of a helper's answer

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, sizeLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > sizeLimit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, sizeLimit)
	}
	doc := &file{}
	if len(text) > 0 && json.Unmarshal(text, doc) != nil { // whose error would quote the file
		return nil, fmt.Errorf("%s is not a file of credentials: it is no JSON object of their form", path)
	}
	return doc, nil
}

// in looks into one file: what is written there for the repository or for a name above it, else what its helper knows.
func (f *Finder) in(ctx context.Context, doc *file, host, repository string) (Credential, error) {
	for name := host + "/" + repository; ; {
		if helper := doc.CredHelpers[name]; helper != "" {
			return f.ask(ctx, helper, name)
		}
		if e, ok := doc.Auths[name]; ok {
			c, err := e.credential()
			if err != nil || c != (Credential{}) {
				return c, err
			}
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	for name, e := range doc.Auths { // as docker wrote them once
		if strings.Contains(name, "://") && bare(name) == canonical(host) {
			c, err := e.credential()
			if err != nil || c != (Credential{}) {
				return c, err
			}
		}
	}
	if doc.CredsStore == "" {
		return Credential{}, nil
	}
	if canonical(host) == dockerIndex {
		return f.ask(ctx, doc.CredsStore, "https://index.docker.io/v1/")
	}
	return f.ask(ctx, doc.CredsStore, host)
}

const dockerIndex = "index.docker.io"

// canonical gives docker.io the name that docker's files have for it.
func canonical(host string) string {
	if host == "docker.io" {
		return dockerIndex
	}
	return host
}

// bare is the host of a URL.
func bare(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

func (e entry) credential() (Credential, error) {
	c := Credential{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	text, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return c, errors.New("an auth in it is no base64")
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return c, errors.New("an auth in it has no colon between user and password")
	}
	c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	return c, nil
}

// tokenUser is the user name with which helpers give a token instead of a password.
const tokenUser = "<token>"

// ask runs a credential helper.
func (f *Finder) ask(ctx context.Context, helper, server string) (Credential, error) {
	if strings.Trim(helper, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return Credential{}, fmt.Errorf("the credential helper %q has no name of one", helper)
	}
	program := "docker-credential-" + helper
	out, err := f.Run(ctx, program, server)
	if strings.Contains(string(out), "credentials not found in native keychain") {
		return Credential{}, nil
	}
	if err != nil {
		return Credential{}, fmt.Errorf("%s: %w", program, err)
	}
	var answer struct{ Username, Secret string }
	if len(out) > sizeLimit || json.Unmarshal(out, &answer) != nil {
		return Credential{}, fmt.Errorf("%s answers something that is no credential", program)
	}
	if answer.Username == tokenUser {
		return Credential{IdentityToken: answer.Secret}, nil
	}
	return Credential{Username: answer.Username, Password: answer.Secret}, nil
}
