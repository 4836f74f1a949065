package integration

// home shares the user's home at the same path, so that files, dotfiles and the paths written in them keep their meaning.
type home struct{}

func (home) Name() string { return "home" }

func (home) Edits(h Host) Edits {
	if h.Home == "" || h.Home == "/" || !isDir(h, h.Home) {
		return Edits{Env: []string{"HOME=/"}}
	}
	return Edits{
		Mounts: []Mount{{Source: h.Home, Target: h.Home}},
		Env:    []string{"HOME=" + h.Home, "USER=" + h.User, "LOGNAME=" + h.User},
	}
}

// terminal passes what programs need to know about the terminal.
type terminal struct{}

func (terminal) Name() string { return "terminal" }

func (terminal) Edits(h Host) Edits { return pass(h, "TERM", "COLORTERM", "NO_COLOR") }

// locale passes the user's language.
type locale struct{}

func (locale) Name() string { return "locale" }

func (locale) Edits(h Host) Edits {
	return pass(h, "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_TIME", "LC_NUMERIC", "LC_COLLATE", "LC_MONETARY", "LC_PAPER")
}

// resolver binds the host's name resolution over the environment's, read-only, so that it follows the host's changes.
type resolver struct{}

func (resolver) Name() string { return "resolver" }

func (resolver) Edits(h Host) Edits {
	var e Edits
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if info, err := h.Stat(f); err == nil && info.Mode().IsRegular() {
			e.Mounts = append(e.Mounts, Mount{Source: f, Target: f, ReadOnly: true})
		}
	}
	return e
}

// pass hands on the named variables that are set.
func pass(h Host, names ...string) Edits {
	var e Edits
	for _, n := range names {
		if v := h.Getenv(n); v != "" {
			e.Env = append(e.Env, n+"="+v)
		}
	}
	return e
}

func isDir(h Host, path string) bool {
	info, err := h.Stat(path)
	return err == nil && info.IsDir()
}
