package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Setting is one line of [integration]: what of the host an environment is let see. Switches have the values "true" and
// "false"; pass_env has its names separated by commas.
type Setting struct {
	Name  string
	Value string
}

// Profiles lists the values of profile, from the widest to the narrowest.
func Profiles() []string { return []string{"desktop", "project", "isolated"} }

// Homes lists the values of home.
func Homes() []string { return []string{"share", "private", "project", "none"} }

// Switches lists the single things of the host that [integration] lets in or keeps out.
func Switches() []string {
	return []string{"audio", "camera", "certificates", "dbus", "fonts", "gpg-agent", "gpu", "input", "locale",
		"resolver", "ssh-agent", "system-dbus", "themes", "timezone", "wayland", "x11"}
}

func integrationKeys() []string {
	return append([]string{"profile", "home", "pass_env"}, Switches()...)
}

func readIntegration(t table) []Setting {
	var settings []Setting
	for _, choice := range []struct {
		key  string
		from []string
	}{{"profile", Profiles()}, {"home", Homes()}} {
		if value, n := t.text(choice.key, quote(choice.from[0])); n != nil {
			s := Setting{choice.key, strings.ToLower(value)}
			t.refuse(n, choice.key, checkSetting(s))
			settings = append(settings, s)
		}
	}
	for _, key := range Switches() {
		if n := t.value(key, kindBool, "true or false", "true"); n != nil {
			settings = append(settings, Setting{key, strconv.FormatBool(n.truth)})
		}
	}
	if names := readPassEnv(t); len(names) > 0 {
		settings = append(settings, Setting{"pass_env", strings.Join(names, ",")})
	}
	slices.SortFunc(settings, compareSettings)
	return settings
}

func readPassEnv(t table) []string {
	var names []string
	for _, n := range t.texts("pass_env", `["EDITOR"]`) {
		name := strings.TrimSpace(n.text)
		t.refuse(n, "pass_env", checkEnv(EnvVar{Name: name}))
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func compareSettings(a, b Setting) int { return cmp.Compare(a.Name, b.Name) }

// checkSetting checks one setting as a manifest or a lock has it.
func checkSetting(s Setting) *complaint {
	switch s.Name {
	case "profile":
		return oneOf(s, Profiles())
	case "home":
		return oneOf(s, Homes())
	case "pass_env":
		names := strings.Split(s.Value, ",")
		for _, name := range names {
			if c := checkEnv(EnvVar{Name: name}); c != nil {
				return c
			}
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) < len(names) {
			return complain("list every variable once, in order", "the names in pass_env are not sorted")
		}
		return nil
	}
	if !slices.Contains(Switches(), s.Name) {
		return complain("known here: "+strings.Join(integrationKeys(), ", "), "no setting is called %s", quote(s.Name))
	}
	return oneOf(s, []string{"false", "true"})
}

func oneOf(s Setting, values []string) *complaint {
	if slices.Contains(values, s.Value) {
		return nil
	}
	remedy := "one of " + strings.Join(values, ", ")
	if near := nearest(s.Value, values); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	return complain(remedy, "%s cannot be %s", s.Name, quote(s.Value))
}

func settingTexts(settings []Setting) [][2]string {
	texts := make([][2]string, len(settings))
	for i, s := range sortedBy(settings, compareSettings) {
		texts[i] = [2]string{s.Name, s.Value}
	}
	return texts
}
