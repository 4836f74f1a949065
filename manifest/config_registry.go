package manifest

import (
	"strings"
)

// RegistryConfig is what the configuration says about one registry.
type RegistryConfig struct {
	CA          []string // absolute paths of files of certificate authorities that are trusted for it, in PEM form
	AuthHosts   []string // HOST or HOST:PORT, lower case: may be given the registry's credentials, beside itself
	VerifyKeys  []string // absolute paths of public keys, in PEM form: what comes from it must be signed by one of them
	Compression string   // of the layers that are pushed to it: "none", "gzip" or "zstd"; empty is none
}

// Registry gives what is said about a registry.
func (c *Config) Registry(host string) RegistryConfig { return c.Registries[strings.ToLower(host)] }

func readRegistries(t table) map[string]RegistryConfig {
	if t.node == nil {
		return nil
	}
	all := map[string]RegistryConfig{}
	for _, e := range t.node.entries {
		if !validHost(strings.ToLower(e.key)) {
			t.report(e.offset, joinKey(t.name, e.key), quote(e.key)+" is not a registry", `write [registries."HOST"] or [registries."HOST:PORT"]`)
			continue
		}
		all[strings.ToLower(e.key)] = readRegistry(t.table(e.key))
	}
	return all
}

func readRegistry(t table) (r RegistryConfig) {
	t.only([]string{"ca", "auth_hosts", "verify_keys", "compression"}, func(string) string { return "" })
	r.CA = t.files("ca", "certificate file", `["/etc/ssl/our-ca.pem"]`)
	r.VerifyKeys = t.files("verify_keys", "key file", `["/etc/karapace/team.pub"]`)
	for _, n := range t.texts("auth_hosts", `["auth.example.org"]`) {
		host := strings.ToLower(strings.TrimSpace(n.text))
		if !validHost(host) {
			t.refuse(n, "auth_hosts", complain("write HOST or HOST:PORT, without https://", "%s is not a host", quote(host)))
		}
		r.AuthHosts = append(r.AuthHosts, host)
	}
	var n *node
	if r.Compression, n = t.text("compression", `"zstd"`); n != nil {
		t.refuse(n, "compression", checkCompression(r.Compression))
	}
	return r
}

// files reads a list of absolute paths.
func (t table) files(key, what, example string) (paths []string) {
	for _, n := range t.texts(key, example) {
		path := strings.TrimSpace(n.text)
		t.refuse(n, key, checkFile(what, path))
		paths = append(paths, path)
	}
	return paths
}

// checkCompression knows the compressions of layers.
func checkCompression(s string) *complaint {
	switch s {
	case "none", "gzip", "zstd":
		return nil
	}
	return complain(`write "none", "gzip" or "zstd"`, "the compression %s is unknown", quote(s))
}
