package desktop

import (
	"errors"
	"fmt"
	"strings"
)

// argument is one of a command: what it says, and the field code that follows. A "%" in the text stands for itself.
type argument struct {
	text   string
	code   byte // the field code that ends the argument, 0 when there is none
	quoted bool
}

// parseExec takes the value of an Exec key apart, in the way of GLib, which accepts more than the specification does:
// single quotes too, and unquoted characters that a shell would interpret, which stand for themselves.
func parseExec(value string) ([]argument, error) {
	words, err := split(unescape(value))
	if err != nil {
		return nil, err
	}
	var args []argument
	for _, w := range words {
		a, keep, err := codes(w)
		if err != nil {
			return nil, err
		}
		if keep {
			args = append(args, a)
		}
	}
	if len(args) == 0 || args[0].code != 0 || args[0].text == "" {
		return nil, errors.New("it names no program")
	}
	return args, nil
}

// split undoes the quoting.
func split(s string) (words []argument, err error) {
	if hasControl(s) {
		return nil, errors.New("a control character in the command")
	}
	var b strings.Builder
	var quote byte
	within, quoted := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t'):
			if within {
				words = append(words, argument{text: b.String(), quoted: quoted})
				b.Reset()
				within, quoted = false, false
			}
			continue
		case quote == 0 && (c == '"' || c == '\''):
			quote, quoted = c, true
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s) && (quote == 0 || strings.IndexByte("\"`$\\", s[i+1]) >= 0):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
		within = true
	}
	if quote != 0 {
		return nil, errors.New("a quotation does not end")
	}
	if within {
		words = append(words, argument{text: b.String(), quoted: quoted})
	}
	return words, nil
}

// codes understands the field codes of an argument; keep is false for one that is only a deprecated code.
func codes(w argument) (out argument, keep bool, err error) {
	var b strings.Builder
	dropped := false
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(w.text) {
			return out, false, errors.New("it ends in %")
		}
		switch c := w.text[i]; {
		case c == '%':
			b.WriteByte('%')
		case strings.IndexByte("dDnNvmk", c) >= 0: // deprecated, and where the entry lies, which is nothing to a program inside
			dropped = true
		case strings.IndexByte("fFuUic", c) < 0:
			return out, false, fmt.Errorf("there is no field code %%%c", c)
		case i+1 != len(w.text) || w.quoted || strings.IndexByte("FUi", c) >= 0 && i != 1:
			return out, false, fmt.Errorf("the field code %%%c stands where it may not", c)
		default:
			out.code = c
		}
	}
	out.text = b.String()
	return out, out.text != "" || out.code != 0 || !dropped, nil
}

// formatExec is the value of an Exec key that runs args.
func formatExec(args []argument) (string, error) {
	words := make([]string, 0, len(args))
	for _, a := range args {
		word := strings.ReplaceAll(a.text, "%", "%%")
		if !plain(word) || word == "" && a.code == 0 {
			if a.code != 0 {
				return "", fmt.Errorf("the field code %%%c stands beside what has to be quoted", a.code)
			}
			word = `"` + strings.NewReplacer(`"`, `\"`, "`", "\\`", `$`, `\$`, `\`, `\\`).Replace(word) + `"`
		}
		if a.code != 0 {
			word += "%" + string(a.code)
		}
		words = append(words, word)
	}
	return escape(strings.Join(words, " ")), nil
}

// plain tells whether a word needs no quotes.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+./:=@,%", r))
	})
}
