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
	ImageServers  []string          // URLs, in the order they are asked; empty is the built-in one
	ImageKeyring  string            // absolute path of the OpenPGP key ring that signs their indexes; empty: they need no signature
	InsecureHosts []string          // HOST or HOST:PORT, lower case, sorted: plain http is allowed
	Mirrors       map[string]string // package mirror URL by distribution: "debian", "ubuntu", ...
	Keyrings      map[string]string // absolute path of an OpenPGP key ring by distribution

	Remote     string                    // URL of the registry that push and pull mean when none is named; empty: none
	Registries map[string]RegistryConfig // by HOST or HOST:PORT, as references have it, lower case
}

func configKeys() []string {
	return []string{"backend", "image_servers", "image_server", "image_keyring", "insecure_hosts", "mirrors", "keyrings", "registries", "remote"}
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
	c.ImageServers = readImageServers(root)
	if c.ImageKeyring, n = root.text("image_keyring", `"/usr/share/keyrings/images.gpg"`); n != nil {
		root.refuse(n, "image_keyring", checkKeyring(c.ImageKeyring))
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
	if c.Remote, n = root.text("remote", `"https://registry.example.org/team"`); n != nil {
		root.refuse(n, "remote", checkURL("remote", c.Remote, "https", "http"))
	}
	c.Registries = readRegistries(root.table("registries"))
	return &c
}

// readImageServers reads the list, or the one server that image_server names.
func readImageServers(root table) []string {
	list := root.texts("image_servers", `["https://images.example.org"]`)
	if one := root.value("image_server", kindString, "a string", `"https://images.example.org"`); one != nil {
		if root.has("image_servers") {
			root.refuse(one, "image_server", complain("put all of them into image_servers", "image_server and image_servers are both there"))
		}
		list = append(list, one)
	}
	var servers []string
	for _, n := range list {
		server := strings.TrimSpace(n.text)
		root.refuse(n, "image_servers", checkImageServer(server))
		servers = append(servers, server)
	}
	return servers
}

// CheckImageServer checks the URL of an image server, from wherever it came.
func CheckImageServer(url string) error {
	if c := checkImageServer(url); c != nil {
		return &Error{Key: "image_servers", Msg: c.msg, Remedy: c.remedy}
	}
	return nil
}

func checkImageServer(s string) *complaint {
	if c := checkURL("image server", s, "https", "http"); c != nil {
		return c
	}
	if strings.ContainsAny(s, "?@") {
		return complain("write https://HOST/PATH", "the image server %s has a query or a user name", quote(s))
	}
	return nil
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

func checkKeyring(s string) *complaint { return checkFile("key ring", s) }

func checkFile(what, s string) *complaint {
	if !strings.HasPrefix(s, "/") || path.Clean(s) != s || strings.ContainsFunc(s, hidden) {
		return complain("write an absolute path, without .. in it", "the %s %s is not an absolute path", what, quote(s))
	}
	return nil
}
