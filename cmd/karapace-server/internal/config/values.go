package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Size is a number of bytes, written as 512MiB or 16GiB; units are powers of 1024.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	if string(text) == "" || string(text) == "0" {
		*s = 0
		return nil
	}
	n, err := units.RAMInBytes(string(text))
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a size such as 512MiB or 16GiB", text)
	}
	*s = Size(n)
	return nil
}

func (s Size) String() string { return units.BytesSize(float64(s)) }

// Duration is a time span, written as 90s or 5m.
type Duration time.Duration

// UnmarshalText reads a time span.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time span such as 90s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// Setting is one value that a flag or the environment may give.
type Setting struct {
	Name  string // as in the file: limits.blob
	Usage string
	field any
}

// Flag is the setting's name on the command line.
func (s Setting) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.Name) }

// Env is the setting's name in the environment.
func (s Setting) Env() string {
	return "KARAPACE_SERVER_" + strings.ToUpper(strings.ReplaceAll(s.Flag(), "-", "_"))
}

// Bool tells whether the flag needs no value.
func (s Setting) Bool() bool {
	_, ok := s.field.(*bool)
	return ok
}

// Set gives the setting its value.
func (s Setting) Set(text string) error {
	var err error
	switch f := s.field.(type) {
	case *string:
		*f = text
	case *bool:
		*f, err = strconv.ParseBool(text)
	case *int:
		*f, err = strconv.Atoi(text)
	case *[]string:
		*f = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	case interface{ UnmarshalText([]byte) error }:
		err = f.UnmarshalText([]byte(text))
	default:
		err = fmt.Errorf("of no known type %T", f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}

// Settings are all settings of c. Keys of S3 are not among them: command lines are seen by everybody.
func (c *Config) Settings() []Setting {
	return []Setting{
		{"listen", "address to serve on", &c.Listen},
		{"metrics_listen", "address to serve metrics on; none without it", &c.MetricsListen},
		{"insecure", "allow to serve others than this machine without TLS or authentication", &c.Insecure},
		{"read_only", "refuse every change", &c.ReadOnly},
		{"url", "the address clients use, where a proxy changes it", &c.URL},
		{"drain", "how long running transfers may take after a signal to stop", &c.Drain},
		{"log_level", "debug, info, warn or error", &c.LogLevel},
		{"max_connections", "how many clients are served at once", &c.MaxConnections},
		{"tls.certificate", "PEM file with the certificate chain", &c.TLS.Certificate},
		{"tls.key", "PEM file with the private key", &c.TLS.Key},
		{"auth.kind", "none, htpasswd or token", &c.Auth.Kind},
		{"auth.htpasswd", "file of users, made by karapace-server passwd", &c.Auth.Htpasswd},
		{"auth.anonymous_pull", "pulling needs no credentials", &c.Auth.AnonymousPull},
		{"auth.pushers", "the users that may push and delete; everybody without it", &c.Auth.Pushers},
		{"auth.token.realm", "address of the token server", &c.Auth.Token.Realm},
		{"auth.token.service", "this registry's name at the token server", &c.Auth.Token.Service},
		{"auth.token.issuer", "who signs tokens", &c.Auth.Token.Issuer},
		{"auth.token.certificates", "PEM file with the certificates tokens are signed under", &c.Auth.Token.Certificates},
		{"auth.token.jwks", "JSON file with the keys tokens are signed with", &c.Auth.Token.JWKS},
		{"storage.kind", "file or s3", &c.Storage.Kind},
		{"storage.path", "directory of the file storage", &c.Storage.Path},
		{"storage.delete", "clients may delete", &c.Storage.Delete},
		{"storage.redirect", "send clients to S3 for blobs instead of passing them through", &c.Storage.Redirect},
		{"storage.upload_expiry", "age at which abandoned uploads are removed", &c.Storage.UploadExpiry},
		{"storage.secret_file", "file with the secret that signs upload addresses; made below the path without it", &c.Storage.SecretFile},
		{"storage.lock_file", "file that server and gc lock; below the path without it, needed with s3", &c.Storage.LockFile},
		{"storage.s3.bucket", "bucket", &c.Storage.S3.Bucket},
		{"storage.s3.region", "region", &c.Storage.S3.Region},
		{"storage.s3.endpoint", "address of a server that speaks S3, where it is not AWS", &c.Storage.S3.Endpoint},
		{"storage.s3.prefix", "directory inside the bucket", &c.Storage.S3.Prefix},
		{"storage.s3.path_style", "bucket in the path instead of in the host name", &c.Storage.S3.PathStyle},
		{"limits.blob", "largest blob; 0 for any", &c.Limits.Blob},
		{"limits.manifest", "largest manifest, at most 4MiB", &c.Limits.Manifest},
		{"limits.references", "how many descriptors a manifest may hold", &c.Limits.References},
		{"limits.total", "how much may be stored; 0 for any", &c.Limits.Total},
		{"limits.free", "how much of the disk stays free; 0 for nothing", &c.Limits.Free},
		{"limits.stall", "how long a transfer may stand still", &c.Limits.Stall},
	}
}
