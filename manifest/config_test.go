package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

func TestParseConfig(t *testing.T) {
	got, err := manifest.ParseConfig("config.toml", []byte(`
backend = "Crun"
image_servers = ["https://Images.example.org/lxc", " http://127.0.0.1:8080 "]
image_keyring = "/etc/keys/images.gpg"
insecure_hosts = ["Mirror.lan", "10.0.0.5:8080", "mirror.lan"]

[mirrors]
debian = "https://mirror.example.org/Debian"
ubuntu = "file:///srv/ubuntu"

[keyrings]
debian = "/etc/keys/debian.gpg"

[registries."Registry.example.org:5000"]
ca = ["/etc/keys/ca.pem"]
auth_hosts = ["Auth.example.org"]
verify_keys = ["/etc/keys/one.pub", "/etc/keys/two.pub"]
compression = "zstd"
`))
	want := &manifest.Config{
		Backend:       "crun",
		ImageServers:  []string{"https://Images.example.org/lxc", "http://127.0.0.1:8080"},
		ImageKeyring:  "/etc/keys/images.gpg",
		InsecureHosts: []string{"10.0.0.5:8080", "mirror.lan"},
		Mirrors:       map[string]string{"debian": "https://mirror.example.org/Debian", "ubuntu": "file:///srv/ubuntu"},
		Keyrings:      map[string]string{"debian": "/etc/keys/debian.gpg"},
		Registries: map[string]manifest.RegistryConfig{"registry.example.org:5000": {
			CA: []string{"/etc/keys/ca.pem"}, AuthHosts: []string{"auth.example.org"}, VerifyKeys: []string{"/etc/keys/one.pub", "/etc/keys/two.pub"}, Compression: "zstd",
		}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	one, err := manifest.ParseConfig("config.toml", []byte(`image_server = "https://images.example.org"`))
	if err != nil || !reflect.DeepEqual(one.ImageServers, []string{"https://images.example.org"}) {
		t.Errorf("a single server: %+v, %v", one, err)
	}
	if empty, err := manifest.ParseConfig("config.toml", nil); err != nil || empty.Backend != "" || len(empty.Mirrors) != 0 {
		t.Errorf("an empty configuration: %+v, %v", empty, err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"bakend = \"crun\"":                                `config.toml:1:1: unknown key bakend`,
		"debian = \"https://x.org\"":                       "debian belongs below a line [mirrors] or [keyrings]",
		"backend = \"docker\"":                             "no backend is called",
		"image_server = \"file:///srv\"":                   "does not begin with https:// or http://",
		"image_servers = [\"https://a@b/\"]":               "has a query or a user name",
		"image_servers = [\"https://ok\", \"x\"]":          `config.toml:1:32: the image server "x" does not begin with https:// or http://`,
		"image_servers = \"https://b\"":                    "image_servers must be a list",
		"image_servers = []\nimage_server = \"https://b\"": "config.toml:2:16: image_server and image_servers are both there",
		"image_keyring = \"images.gpg\"":                   "absolute path",
		"insecure_hosts = [\"ok\", \"http://x\"]":          "config.toml:1:25: \"http://x\" is not a host",
		"insecure_hosts = \"mirror.lan\"":                  "insecure_hosts must be a list",
		"[mirrors]\ndebain = \"https://x.org\"":            `did you mean "debian"?`,
		"[mirrors]\ndebian = \"x.org\"":                    "https://x.org",
		"[registries.\"https://x\"]\nca = []":              `"https://x" is not a registry`,
		"[registries.\"x.org\"]\nverify_key = \"/x\"":      `did you mean "verify_keys"?`,
		"[registries.\"x.org\"]\nca = [\"x.pem\"]":         "the certificate file \"x.pem\" is not an absolute path",
		"[registries.\"x.org\"]\nauth_hosts = [\"a/b\"]":   "\"a/b\" is not a host",
		"[registries.\"x.org\"]\ncompression = \"lz4\"":    "the compression \"lz4\" is unknown",
		"remote = \"ftp://x.org\"":                         "does not begin with https://",
		"[keyrings]\ndebian = \"key.gpg\"":                 "config.toml:2:10: the key ring \"key.gpg\" is not an absolute path",
		"[keyrings]\ndebian = \"/etc/../key.gpg\"":         "absolute path",
		"[keyrings]\ndebian = 1":                           "keyrings.debian must be a string",
		"backend = \"crun\"\nbackend = \"youki\"\n":        "defined twice",
	} {
		got, err := manifest.ParseConfig("config.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"dev": true, "A-z_0": true, "-": false, "-x": false, "x-": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a/b": false, "..": false, "ä": false, "a\n": false, "a.b": false,
	} {
		if manifest.ValidName(name) != want {
			t.Errorf("ValidName(%q) is %v", name, !want)
		}
	}
}

func TestValidPackageName(t *testing.T) {
	for name, want := range map[string]bool{
		"git": true, "0ad": true, "g++": true, "libstdc++-12-dev": true, "python3.11": true, "libc6:i386": true, "glibc.i686": true,
		"perl-Test_X": true, "a~b@c": true, strings.Repeat("a", 255): true,
		"": false, "-y": false, "--x": false, "../x": false, "a/b": false, "a b": false, "a=1": false, "git-": false, "a;b": false,
		"$(x)": false, "a*": false, "^a": false, "a\n": false, "ä": false, "@group": false, ".a": false, "?x": false, "~x": false,
		"a,b": false, "a\x00": false, strings.Repeat("a", 256): false,
	} {
		if manifest.ValidPackageName(name) != want {
			t.Errorf("ValidPackageName(%q) is %v", name, !want)
		}
	}
}
