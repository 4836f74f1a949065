package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Address is how an image in a registry is named on a command line: by a reference, or by a remote and what it is called there.
type Address struct {
	Ref    string
	Remote string // URL of a registry, with a path of repositories where it has one
	Tag    string // NAME@TAG or NAME, in the remote; empty: the environment's name
}

// keyLimit bounds a file of keys, in bytes.
const keyLimit = 64 << 10

// PushOptions are what push takes.
type PushOptions struct {
	Env         string
	To          Address
	Compression string // empty: the configuration's
	Snapshots   bool
	Packages    bool
	SignKey     string // file; empty: it is not signed
	MountFrom   []string
}

// Pushed is what the program tells about a push. The JSON names are a promise, see docs/cli.md.
type Pushed struct {
	Reference   string         `json:"reference"`
	EnvID       manifest.EnvID `json:"env_id"`
	ImageDigest digest.Digest  `json:"image_digest"`
	Digest      digest.Digest  `json:"digest"` // what the registry calls it
	Sent        int64          `json:"sent"`   // bytes
	Kept        int64          `json:"kept"`   // bytes that were there
	Mounted     int64          `json:"mounted"`
	Signed      bool           `json:"signed"`
	Packages    int            `json:"packages"` // files
	Snapshots   int            `json:"snapshots"`
}

// Push sends an environment to a registry.
func (e *Engine) Push(ctx context.Context, o PushOptions) (*Pushed, error) {
	s, r, err := e.find(o.Env)
	if err != nil {
		return nil, err
	}
	req, err := e.pushRequest(ctx, r, o)
	if err != nil {
		return nil, err
	}
	var res wire.PushResult
	if err := e.call(ctx, s, wire.Request{Push: req}, &res); err != nil {
		return nil, err
	}
	return &Pushed{
		Reference: res.Ref, EnvID: r.EnvID, ImageDigest: res.Image, Digest: res.Digest, Sent: res.Sent, Kept: res.Kept, Mounted: res.Mounted,
		Signed: res.Signed, Packages: res.Packages, Snapshots: res.Snapshot,
	}, nil
}

func (e *Engine) pushRequest(ctx context.Context, r *storage.Record, o PushOptions) (*wire.Push, error) {
	req := &wire.Push{EnvID: r.EnvID, Compression: o.Compression, Snapshots: o.Snapshots, Packages: o.Packages, MountFrom: o.MountFrom}
	ref, err := e.address(o.To, cmp.Or(r.Name, r.EnvID.Short()))
	if err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		return nil, failure.New(failure.Usage, fmt.Errorf("%s has a digest: what is pushed has its own", ref), "write HOST/REPOSITORY:TAG")
	}
	req.Ref = ref.String()
	if o.SignKey != "" {
		if req.SignKey, err = readFile(o.SignKey, keyLimit); err != nil {
			return nil, failure.New(failure.General, fmt.Errorf("read the key to sign with: %w", err), "")
		}
	}
	if req.Config, err = e.configText(); err != nil {
		return nil, err
	}
	req.ConfigFile = e.ConfigFile
	req.Remote, err = e.remote(ctx, ref)
	return req, err
}

// PullOptions are what pull takes.
type PullOptions struct {
	From       Address
	Name       string
	Snapshots  bool
	Packages   bool
	VerifyKeys []string // files
}

// Pulled is what the program tells about a pull. The JSON names are a promise, see docs/cli.md.
type Pulled struct {
	Environment
	Digest   digest.Digest `json:"digest"`   // what the registry calls it
	Created  bool          `json:"created"`  // false: the environment was there
	Verified bool          `json:"verified"` // it is signed by a key that was to be looked for
	Packages int           `json:"packages"` // files that came for building it anew
}

// Pull makes an environment of what a registry has.
func (e *Engine) Pull(ctx context.Context, o PullOptions) (*Pulled, error) {
	if o.Name != "" && !manifest.ValidName(o.Name) {
		return nil, badName(o.Name)
	}
	ref, err := e.address(o.From, "")
	if err != nil {
		return nil, err
	}
	req := &wire.Pull{Ref: ref.String(), Name: o.Name, Dir: e.Cwd, Snapshots: o.Snapshots, Packages: o.Packages, ConfigFile: e.ConfigFile}
	for _, file := range o.VerifyKeys {
		text, err := readFile(file, keyLimit)
		if err != nil {
			return nil, failure.New(failure.General, fmt.Errorf("read the key to verify with: %w", err), "")
		}
		req.VerifyKeys = append(req.VerifyKeys, text)
	}
	if req.Config, err = e.configText(); err != nil {
		return nil, err
	}
	if req.Remote, err = e.remote(ctx, ref); err != nil {
		return nil, err
	}
	s, err := storage.Create(e.StoreRoot)
	if err != nil {
		return nil, storeFailure(err)
	}
	var res wire.PullResult
	if err := e.call(ctx, s, wire.Request{Pull: req}, &res); err != nil {
		return nil, err
	}
	return &Pulled{Environment: e.Describe(res.Record), Digest: res.Digest, Created: res.Created, Verified: res.Signed, Packages: res.Packages}, nil
}

func (e *Engine) configText() ([]byte, error) {
	text, err := readFile(e.ConfigFile, manifestLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New(failure.General, fmt.Errorf("read configuration: %w", err), "")
	}
	return text, nil
}

// address makes a reference of what a command line says. name is what an environment is called without a tag.
func (e *Engine) address(a Address, name string) (manifest.BaseRef, error) {
	text := a.Ref
	if a.Remote != "" || a.Tag != "" || namedOnly(a.Ref) {
		prefix, err := e.remotePrefix(a.Remote)
		if err != nil {
			return manifest.BaseRef{}, err
		}
		called := cmp.Or(a.Tag, a.Ref, name)
		if a.Tag != "" && a.Ref != "" {
			return manifest.BaseRef{}, failure.New(failure.Usage, errors.New("a reference and --tag name the same thing twice"), "")
		}
		what, tag, _ := strings.Cut(called, "@")
		text = prefix + "/" + strings.ToLower(what) + ":" + cmp.Or(tag, "latest")
	}
	ref, err := manifest.ParseImageRef(text)
	if err != nil {
		return ref, failure.New(failure.Usage, err, "")
	}
	return ref, nil
}

// namedOnly tells whether a reference is NAME@TAG, which only a remote gives a place.
func namedOnly(ref string) bool {
	name, tag, ok := strings.Cut(ref, "@")
	return ok && !strings.ContainsAny(name, "/:") && !strings.Contains(tag, ":")
}

// remotePrefix is HOST or HOST/PATH of a remote's URL, of the configuration's where none is named. Whether http is spoken
// is not up to the URL.
func (e *Engine) remotePrefix(url string) (string, error) {
	if url == "" {
		text, err := e.configText()
		if err != nil {
			return "", err
		}
		c, err := manifest.ParseConfig(e.ConfigFile, text)
		if err != nil {
			return "", failure.New(failure.General, err, "")
		}
		if url = c.Remote; url == "" {
			return "", failure.New(failure.Usage, errors.New("no registry is named"),
				"write HOST/REPOSITORY:TAG, or --remote https://HOST, or remote = \"https://HOST\" in config.toml")
		}
	}
	rest := url
	if scheme, after, ok := strings.Cut(url, "://"); ok {
		if scheme != "https" && scheme != "http" {
			return "", failure.New(failure.Usage, fmt.Errorf("the remote %s does not begin with https://", quoted(url)), "")
		}
		rest = after
	}
	return strings.TrimRight(rest, "/"), nil
}
