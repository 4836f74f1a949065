// Package config is the configuration of the server: a TOML file, the environment and flags, in rising order of weight.
//
// Every setting has one name. In the file it is the key, below its table; as a flag it is the path with dashes for dots
// and underscores (limits.blob is --limits-blob); in the environment it is KARAPACE_SERVER_ and the same in capitals.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// Config is a whole configuration. Default gives every field its value; the zero value is not useful.
type Config struct {
	Listen         string   `toml:"listen"`
	MetricsListen  string   `toml:"metrics_listen"`
	Insecure       bool     `toml:"insecure"`
	ReadOnly       bool     `toml:"read_only"`
	URL            string   `toml:"url"`
	Drain          Duration `toml:"drain"`
	LogLevel       string   `toml:"log_level"`
	MaxConnections int      `toml:"max_connections"`
	TLS            TLS      `toml:"tls"`
	Auth           Auth     `toml:"auth"`
	Storage        Storage  `toml:"storage"`
	Limits         Limits   `toml:"limits"`
}

// TLS names PEM files; both or neither. They are read again when they change.
type TLS struct {
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
}

// Auth says who may do what.
type Auth struct {
	Kind          string   `toml:"kind"`
	Htpasswd      string   `toml:"htpasswd"`
	AnonymousPull bool     `toml:"anonymous_pull"`
	Pushers       []string `toml:"pushers"`
	Token         Token    `toml:"token"`
}

// Token is a token server of the distribution project's protocol.
type Token struct {
	Realm        string `toml:"realm"`
	Service      string `toml:"service"`
	Issuer       string `toml:"issuer"`
	Certificates string `toml:"certificates"`
	JWKS         string `toml:"jwks"`
}

// Storage is where everything is kept.
type Storage struct {
	Kind         string   `toml:"kind"`
	Path         string   `toml:"path"`
	Delete       bool     `toml:"delete"`
	Redirect     bool     `toml:"redirect"`
	UploadExpiry Duration `toml:"upload_expiry"`
	SecretFile   string   `toml:"secret_file"`
	LockFile     string   `toml:"lock_file"`
	S3           S3       `toml:"s3"`
}

// S3 is a bucket. Without keys, the usual environment variables and files of AWS clients give them.
type S3 struct {
	Bucket    string `toml:"bucket"`
	Region    string `toml:"region"`
	Endpoint  string `toml:"endpoint"`
	Prefix    string `toml:"prefix"`
	AccessKey string `toml:"access_key"`
	SecretKey string `toml:"secret_key"`
	PathStyle bool   `toml:"path_style"`
}

// Limits bound what clients may make the server hold. Zero means no limit for Blob, Total and Free.
type Limits struct {
	Blob       Size     `toml:"blob"`
	Manifest   Size     `toml:"manifest"`
	References int      `toml:"references"`
	Total      Size     `toml:"total"`
	Free       Size     `toml:"free"`
	Stall      Duration `toml:"stall"`
}

// Default is what holds where nothing is said: loopback only, no authentication, files below the state directory.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:5000", Drain: Duration(5 * time.Minute), LogLevel: "info", MaxConnections: 1024,
		Auth:    Auth{Kind: "none", Pushers: []string{}},
		Storage: Storage{Kind: "file", Path: defaultPath(), Delete: true, UploadExpiry: Duration(7 * 24 * time.Hour)},
		Limits:  Limits{Blob: 16 << 30, Manifest: 4 << 20, References: 1000, Free: 64 << 20, Stall: Duration(time.Minute)},
	}
}

// defaultPath is what systemd says, or what the XDG directories say.
func defaultPath() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "karapace-server")
}

// Read lays a TOML file over c. Unknown keys are errors.
func (c *Config) Read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() > maxFile || !fi.Mode().IsRegular() {
		return fmt.Errorf("configuration %s: not a regular file of at most %d bytes", path, maxFile)
	}
	err = toml.NewDecoder(f).DisallowUnknownFields().Decode(c)
	var strict *toml.StrictMissingError
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		return fmt.Errorf("configuration %s: unknown keys:\n%s", path, strict.String())
	case errors.As(err, &decode):
		return fmt.Errorf("configuration %s:\n%s", path, decode.String())
	case err != nil:
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// Check refuses what cannot work and what would be open to the world by mistake.
func (c *Config) Check() error {
	var problems []error
	for _, check := range []func() error{c.checkListen, c.checkTLS, c.checkAuth, c.checkStorage, c.checkLimits} {
		if err := check(); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (c *Config) checkListen() error {
	loopback, err := isLoopback(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if c.MetricsListen != "" {
		if _, err := isLoopback(c.MetricsListen); err != nil {
			return fmt.Errorf("metrics_listen: %w", err)
		}
	}
	if loopback || c.Insecure {
		return nil
	}
	if c.TLS.Certificate == "" {
		return fmt.Errorf("listen: %s is not loopback and there is no TLS: give [tls] certificate and key, or insecure = true behind a proxy that has them", c.Listen)
	}
	if c.Auth.Kind == "none" && !c.ReadOnly {
		return fmt.Errorf("listen: %s is not loopback and anybody could push: set [auth] kind, or read_only = true, or insecure = true", c.Listen)
	}
	return nil
}

func (c *Config) checkTLS() error {
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return errors.New("tls: certificate and key belong together")
	}
	return nil
}

func (c *Config) checkAuth() error {
	a := c.Auth
	switch a.Kind {
	case "none":
		if a.AnonymousPull || len(a.Pushers) > 0 {
			return errors.New("auth: anonymous_pull and pushers mean something only with kind = \"htpasswd\"")
		}
	case "htpasswd":
		if a.Htpasswd == "" {
			return errors.New("auth: kind = \"htpasswd\" needs htpasswd = FILE; make it with karapace-server passwd FILE USER")
		}
		if _, err := os.Stat(a.Htpasswd); err != nil {
			return fmt.Errorf("auth: htpasswd: %w; make it with karapace-server passwd FILE USER", err)
		}
	case "token":
		if a.AnonymousPull || len(a.Pushers) > 0 {
			return errors.New("auth: with kind = \"token\" the token server says who may pull and push")
		}
		if a.Token.Realm == "" || a.Token.Service == "" || a.Token.Issuer == "" || (a.Token.Certificates == "" && a.Token.JWKS == "") {
			return errors.New("auth: kind = \"token\" needs token.realm, service, issuer, and certificates or jwks")
		}
	default:
		return fmt.Errorf("auth: kind %q is none of none, htpasswd, token", a.Kind)
	}
	return nil
}

func (c *Config) checkStorage() error {
	s := c.Storage
	if s.UploadExpiry <= 0 {
		return errors.New("storage: upload_expiry must be positive")
	}
	switch s.Kind {
	case "file":
		if !filepath.IsAbs(s.Path) {
			return fmt.Errorf("storage: path %q must be absolute", s.Path)
		}
	case "s3":
		if s.S3.Bucket == "" || s.S3.Region == "" {
			return errors.New("storage: kind = \"s3\" needs s3.bucket and s3.region")
		}
	default:
		return fmt.Errorf("storage: kind %q is neither file nor s3", s.Kind)
	}
	return nil
}

func (c *Config) checkLimits() error {
	l := c.Limits
	switch {
	case l.Manifest <= 0 || l.Manifest > 4<<20:
		return fmt.Errorf("limits: manifest must be between 1 byte and 4MiB, not %s", l.Manifest)
	case l.References <= 0:
		return errors.New("limits: references must be positive")
	case l.Stall < Duration(time.Second):
		return errors.New("limits: stall must be at least 1s")
	case c.MaxConnections <= 0:
		return errors.New("max_connections must be positive")
	case c.Drain < 0:
		return errors.New("drain must not be negative")
	}
	return nil
}

func isLoopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%q is not HOST:PORT", address)
	}
	if strings.EqualFold(host, "localhost") {
		return true, nil
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback(), nil
}
