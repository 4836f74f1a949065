package integration

import (
	"fmt"
	"slices"
	"strings"
)

// Policy says what of the host is let in.
type Policy struct {
	Profile string   // desktop, project or isolated
	Home    string   // share, private, project or none
	PassEnv []string // variables of the host that are handed on
	Network bool     // the host's is shared

	off []string // switches that are off
}

// Facts are what decides a policy beside its settings.
type Facts struct {
	Profile    string // where no setting says one
	Network    bool   // the host's is shared
	GPU, Audio bool   // the manifest's [hardware]
}

// NewPolicy makes the policy of settings as a manifest has them: name and value.
func NewPolicy(facts Facts, settings func(yield func(name, value string) bool)) (Policy, error) {
	p := Policy{Profile: facts.Profile, Network: facts.Network}
	given := map[string]string{}
	for name, value := range settings {
		given[name] = value
	}
	if v := given["profile"]; v != "" {
		p.Profile = v
	}
	on, home, err := profile(p.Profile, facts)
	if err != nil {
		return Policy{}, err
	}
	if p.Home = home; given["home"] != "" {
		p.Home = given["home"]
	}
	if given["pass_env"] != "" {
		p.PassEnv = strings.Split(given["pass_env"], ",")
	}
	for _, s := range switches() {
		if value, ok := given[s]; ok && value == "false" || !ok && !slices.Contains(on, s) {
			p.off = append(p.off, s)
		}
	}
	return p, nil
}

// profile gives the switches that are on and the home.
func profile(name string, facts Facts) (on []string, home string, err error) {
	plain := []string{"locale", "timezone", "certificates", "resolver"}
	switch name {
	case "desktop":
		on = append(plain, "wayland", "x11", "audio", "dbus", "system-dbus", "ssh-agent", "gpg-agent", "fonts", "themes")
		if facts.GPU {
			on = append(on, "gpu")
		}
		if facts.Audio {
			on = append(on, "snd")
		}
		return on, "share", nil
	case "project":
		return plain, "project", nil
	case "isolated":
		return []string{"locale", "resolver"}, "none", nil
	}
	return nil, "", fmt.Errorf("there is no profile %q: it is desktop, project or isolated", name)
}

// switches lists all there are. snd, the devices below /dev/snd, is not the user's to set here: [hardware] audio is.
func switches() []string {
	return []string{"audio", "camera", "certificates", "dbus", "fonts", "gpg-agent", "gpu", "input", "locale", "resolver", "snd",
		"ssh-agent", "system-dbus", "themes", "timezone", "wayland", "x11"}
}

// Allows says whether a switch is on.
func (p Policy) Allows(name string) bool {
	if name == "resolver" && !p.Network {
		return false // there is nothing to resolve for
	}
	return !slices.Contains(p.off, name)
}

// providers are those the policy asks, in the order of their mounts.
func (p Policy) providers() []Provider {
	all := []Provider{home{p.Home}, terminal{}, locale{}, timezone{}, certificates{}, resolver{}, wayland{}, x11{network: p.Network},
		pipewire{}, pulse{}, sessionBus{network: p.Network}, systemBus{}, dri{}, nvidia{}, snd{}, camera{}, input{}, sshAgent{}, gpgAgent{}, fonts{}, themes{}}
	return slices.DeleteFunc(all, func(one Provider) bool {
		return one.Name() != "home" && one.Name() != "terminal" && !p.Allows(one.Name())
	})
}
