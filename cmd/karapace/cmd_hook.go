package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// hookCommand prints what a shell evaluates in its start-up file.
func (p *program) hookCommand() *cli.Command {
	return &cli.Command{
		Name: "hook", Usage: "print what tells a shell of environments, and runs programs in them", ArgsUsage: "bash|zsh|fish",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "shim", Usage: "a program that runs in the directory's environment where there is one; separated by commas"}},
		Action: func(c *cli.Context) error {
			name, err := p.argument(c, "bash, zsh or fish")
			if err != nil {
				return err
			}
			text, ok := hooks()[name]
			if !ok {
				return usage(fmt.Errorf("there is no hook for %s: it is bash, zsh or fish", name))
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			text = strings.ReplaceAll(text, "@SELF@", shellQuoted(name, self))
			for _, s := range c.StringSlice("shim") {
				if !shimForm(s) {
					return usage(fmt.Errorf("%q cannot be the name of a program", s))
				}
				text += strings.ReplaceAll(shims()[name], "NAME", s)
			}
			_, err = p.stdout.WriteString(text)
			return err
		},
	}
}

// shimForm tells whether a name is harmless as that of a function.
func shimForm(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_')
	}) && (s[0] < '0' || s[0] > '9')
}

// shellQuoted is a word for a shell.
func shellQuoted(shell, s string) string {
	switch shell {
	case "fish":
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	case "elvish", "powershell":
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// hooks are the scripts by shell. They look for a lock without starting anything, ask karapace once for each directory that
// has one, and say nothing inside of an environment. @SELF@ stands for the quoted path.
func hooks() map[string]string {
	const posix = `__karapace_dir() {
  local d=$PWD
  while [ -n "$d" ]; do
    if [ -f "$d/karapace.lock" ]; then printf '%s' "$d"; return 0; fi
    d=${d%/*}
  done
  return 1
}
__karapace_hint() {
  local d
  [ -z "$KARAPACE_ENV" ] || return 0
  d=$(__karapace_dir) || d=
  [ "$d" != "$__karapace_last" ] || return 0
  __karapace_last=$d
  if [ -n "$d" ] && @SELF@ inspect >/dev/null 2>&1 </dev/null; then
    printf '%s\n' "karapace: this directory has an environment; karapace enter" >&2
  fi
  return 0
}
__karapace_exec() { @SELF@ exec -t -- "$@"; }
`
	return map[string]string{
		"bash": posix + `__karapace_prompt() { local status=$?; __karapace_hint; return $status; }
case ";${PROMPT_COMMAND:-};" in
  *";__karapace_prompt;"*) ;;
  *) PROMPT_COMMAND="__karapace_prompt${PROMPT_COMMAND:+;$PROMPT_COMMAND}" ;;
esac
`,
		"zsh": posix + `autoload -Uz add-zsh-hook
add-zsh-hook chpwd __karapace_hint
__karapace_hint
`,
		"fish": `function __karapace_dir
  set -l d $PWD
  while test -n "$d"
    if test -f "$d/karapace.lock"
      echo $d
      return 0
    end
    set d (string replace -r '/[^/]*$' '' -- $d)
  end
  return 1
end
function __karapace_hint --on-variable PWD
  test -z "$KARAPACE_ENV"; or return 0
  set -l d (__karapace_dir)
  test "$d" != "$__karapace_last"; or return 0
  set -g __karapace_last $d
  if test -n "$d"; and @SELF@ inspect >/dev/null 2>&1 </dev/null
    echo "karapace: this directory has an environment; karapace enter" >&2
  end
end
function __karapace_exec
  @SELF@ exec -t -- $argv
end
__karapace_hint
`,
	}
}

// shims are functions that run a program NAME in the environment of the directory, else the host's own.
func shims() map[string]string {
	const posix = `NAME() { if [ -z "$KARAPACE_ENV" ] && __karapace_dir >/dev/null; then __karapace_exec NAME "$@"; else command NAME "$@"; fi; }
`
	return map[string]string{"bash": posix, "zsh": posix, "fish": `function NAME
  if test -z "$KARAPACE_ENV"; and __karapace_dir >/dev/null
    __karapace_exec NAME $argv
  else
    command NAME $argv
  end
end
`}
}
