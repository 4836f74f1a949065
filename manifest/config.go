package manifest

import (
	"path"
	"slices"
	"strings"
)

// Config is the user's configuration, $XDG_CONFIG_HOME/karapace/config.toml. It says where things are fetched from and who
// is trusted; nothing in it changes what a lock builds.
type Config struct {
	Backend       string            // what runs environments here, in place of the lock's; empty is the lock's
	ImageServer   string            // URL of the image server; empty is the built-in one
	InsecureHosts []string          // HOST or HOST:PORT, lower case, sorted: plain http is allowed
	Mirrors       map[string]string // package mirror URL by distribution: "debian", "ubuntu", ...
	Keyrings      map[string]string // absolute path of an OpenPGP key ring by distribution
}

func configKeys() []string {
	return []string{"backend", "image_server", "insecure_hosts", "mirrors", "keyrings"}
}

// ParseConfig reads a configuration, as strictly as Parse does a manifest. An empty text is a valid one.
func ParseConfig(file string, data []byte) (*Config, error) {
	d := &document{file: file, data: data}
	tree := d.read(MaxSize)
	if tree == nil {
		return nil, d.err()
	}
	c := readConfig(table{d, tree, ""})
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func readConfig(root table) *Config {
	root.only(configKeys(), func(key string) string {
		if slices.Contains(distros(), key) {
			return key + " belongs below a line [mirrors] or [keyrings]"
		}
		return ""
	})
	var c Config
	var n *node
	if c.Backend, n = root.text("backend", `"crun"`); n != nil {
		c.Backend = strings.ToLower(c.Backend)
		root.refuse(n, "backend", checkBackend(c.Backend))
	}
	if c.ImageServer, n = root.text("image_server", `"https://images.example.org"`); n != nil {
		root.refuse(n, "image_server", checkURL("image server", c.ImageServer, "https", "http"))
	}
	for _, n := range root.texts("insecure_hosts", `["mirror.example.org"]`) {
		host := strings.ToLower(strings.TrimSpace(n.text))
		if !validHost(host) {
			root.refuse(n, "insecure_hosts", complain("write HOST or HOST:PORT, without http://", "%s is not a host", quote(host)))
		}
		c.InsecureHosts = append(c.InsecureHosts, host)
	}
	slices.Sort(c.InsecureHosts)
	c.InsecureHosts = slices.Compact(c.InsecureHosts)
	c.Mirrors = byDistro(root.table("mirrors"), `"https://mirror.example.org/debian"`, func(s string) *complaint {
		return checkURL("mirror", s, "https", "http", "file")
	})
	c.Keyrings = byDistro(root.table("keyrings"), `"/usr/share/keyrings/debian-archive-keyring.gpg"`, checkKeyring)
	return &c
}

func byDistro(t table, example string, check func(string) *complaint) map[string]string {
	values := map[string]string{}
	t.only(distros(), nowhere)
	for e, n := range t.strings(example) {
		value := strings.TrimSpace(n.text)
		t.refuse(n, e.key, check(value))
		values[e.key] = value
	}
	return values
}

func checkKeyring(s string) *complaint {
	if !strings.HasPrefix(s, "/") || path.Clean(s) != s || strings.ContainsFunc(s, hidden) {
		return complain("write an absolute path, without .. in it", "the key ring %s is not an absolute path", quote(s))
	}
	return nil
}
