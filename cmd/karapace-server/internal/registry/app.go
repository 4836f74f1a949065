package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // registers itself
	_ "github.com/distribution/distribution/v3/registry/auth/token"    // registers itself
	"github.com/distribution/distribution/v3/registry/handlers"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // registers itself
	storagemiddleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws" // registers itself

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// ours is the name under which the library finds what this package gives it.
const ours = "karapace"

// register tells the library's registries of plug-ins where to look: in the options of each server.
var register = sync.OnceValue(func() error {
	return errors.Join(
		auth.Register(ours, func(o map[string]any) (auth.AccessController, error) {
			return o["controller"].(auth.AccessController), nil
		}),
		storagemiddleware.Register(ours, func(_ context.Context, d driver.StorageDriver, o map[string]any) (driver.StorageDriver, error) {
			g := o["driver"].(*guarded)
			g.StorageDriver = d
			return g, nil
		}),
	)
})

// distrust makes the library hash every upload whole when it is complete, instead of going on from a state that was kept
// with it: several servers may write to one bucket, where nothing keeps two requests on one upload apart.
var distrust = sync.OnceValue(func() error {
	return registrymiddleware.RegisterOptions(storage.DisableDigestResumption)
})

func duration(d config.Duration) time.Duration { return time.Duration(d) }

// New makes a server of a configuration that has been checked. The library's own work ends with the context or Close.
func New(ctx context.Context, c config.Config, log *slog.Logger) (s *Server, err error) {
	if err := register(); err != nil {
		return nil, err
	}
	defer func() { // the library has no other way to say so
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("storage or authentication cannot be set up: %v", p)
		}
	}()
	a, err := newAccess(c.Auth)
	if err != nil {
		return nil, err
	}
	if err := prepare(c.Storage); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	lock, err := LockOf(c.Storage)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	g := &guarded{blob: int64(c.Limits.Blob), total: int64(c.Limits.Total), free: int64(c.Limits.Free)}
	if c.Storage.Kind == "file" {
		g.root = c.Storage.Path
	}
	if c.Storage.Kind != "file" {
		if err := distrust(); err != nil {
			return nil, err
		}
	}
	lib, err := library(c, a, g, log)
	if err != nil {
		return nil, err
	}
	app := handlers.NewApp(ctx, lib)
	return &Server{app: app, driver: g, access: a, limits: c.Limits, readOnly: c.ReadOnly, lock: lock, uploads: &busy{ids: map[string]bool{}}, log: log}, nil
}

// library is the configuration in the library's terms.
func library(c config.Config, a *access, g *guarded, log *slog.Logger) (*configuration.Configuration, error) {
	lib := &configuration.Configuration{Version: configuration.CurrentVersion}
	lib.HTTP.Host = c.URL
	lib.HTTP.RelativeURLs = c.URL == ""
	lib.Catalog.MaxEntries = 1000
	// layers that lie elsewhere are allowed, indexes whose images are missing are not
	lib.Validation.Enabled = true
	lib.Validation.Manifests.URLs.Allow = []string{"^https?://"}
	lib.Storage = configuration.Storage{
		"delete":   {"enabled": c.Storage.Delete},
		"redirect": {"disable": !c.Storage.Redirect},
		"maintenance": {
			"readonly": map[any]any{"enabled": c.ReadOnly},
			"uploadpurging": map[any]any{"enabled": !c.ReadOnly, "age": c.Storage.UploadExpiry.String(),
				"interval": "24h", "dryrun": false},
		},
	}
	kind, parameters := driverOf(c.Storage)
	lib.Storage[kind] = parameters
	lib.Middleware = map[string][]configuration.Middleware{"storage": {{Name: ours, Options: configuration.Parameters{"driver": g}}}}
	if a != nil {
		lib.Auth = configuration.Auth{ours: {"controller": a}}
	}
	secret, err := secretOf(c.Storage)
	if err != nil {
		return nil, fmt.Errorf("storage: secret: %w", err)
	}
	if secret == "" {
		log.Warn("no storage.secret_file: uploads do not go on after a restart, and not on another server")
	}
	lib.HTTP.Secret = secret
	return lib, nil
}

// driverOf is the storage in the library's terms.
func driverOf(s config.Storage) (string, configuration.Parameters) {
	if s.Kind == "file" {
		return "filesystem", configuration.Parameters{"rootdirectory": s.Path}
	}
	p := configuration.Parameters{"bucket": s.S3.Bucket, "region": s.S3.Region, "forcepathstyle": s.S3.PathStyle}
	for key, value := range map[string]string{"regionendpoint": s.S3.Endpoint, "rootdirectory": s.S3.Prefix, "accesskey": s.S3.AccessKey, "secretkey": s.S3.SecretKey} {
		if value != "" {
			p[key] = value
		}
	}
	return "s3", p
}

// Driver opens storage for programs other than the server.
func Driver(ctx context.Context, s config.Storage) (driver.StorageDriver, error) {
	if err := prepare(s); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	kind, parameters := driverOf(s)
	d, err := factory.Create(ctx, kind, parameters)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return d, nil
}

func prepare(s config.Storage) error {
	if s.Kind != "file" {
		return nil
	}
	return os.MkdirAll(s.Path, 0o700)
}

// LockOf is the lock of a storage.
func LockOf(s config.Storage) (Lock, error) {
	path, err := beside(s, s.LockFile, "lock")
	if err != nil {
		return Lock{}, err
	}
	if path == "" {
		return Lock{}, errors.New("lock_file must be set with s3, and name one file for all servers and gc of this machine")
	}
	return NewLock(path)
}

// Serving is the lock that keeps a second server from writing to the same files.
func Serving(s config.Storage) (io.Closer, error) {
	path, err := beside(s, "", "serving")
	if err != nil || path == "" {
		return io.NopCloser(nil), err
	}
	l, err := NewLock(path)
	if err != nil {
		return nil, err
	}
	held, err := l.Try()
	if err != nil {
		return nil, fmt.Errorf("storage %s is being served already (a second server needs read_only = true): %w", s.Path, err)
	}
	return held, nil
}

// beside is a path that was given, or one of the server's own files in the storage directory.
func beside(s config.Storage, given, name string) (string, error) {
	if given != "" || s.Kind != "file" {
		return given, nil
	}
	dir := filepath.Join(s.Path, "karapace")
	return filepath.Join(dir, name), os.MkdirAll(dir, 0o700)
}

// secretOf reads the secret that signs upload addresses, and makes it for file storage.
func secretOf(s config.Storage) (string, error) {
	path, err := beside(s, s.SecretFile, "secret")
	if err != nil || path == "" {
		return "", err
	}
	if content, err := os.ReadFile(path); err == nil && len(content) >= 32 {
		return string(content), nil
	} else if err == nil || s.SecretFile != "" {
		return "", fmt.Errorf("%s must be a file of at least 32 random bytes: %w", path, errors.Join(err, errors.New("it is shorter or missing")))
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "secret-")
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	if _, err := io.WriteString(temp, hex.EncodeToString(fresh)); err != nil {
		return "", errors.Join(err, temp.Close())
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) { // who came first wins
		return "", err
	}
	content, err := os.ReadFile(path)
	return string(content), err
}
