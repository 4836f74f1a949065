package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// explainSyntax turns what the TOML parser says into a sentence for somebody who never heard of TOML, and a remedy.
// offset is where the parser stopped; the one returned is where the mistake is.
func explainSyntax(data []byte, offset int, said string) (msg, remedy string, at int) {
	offset = max(0, min(offset, len(data)))
	if start := bytes.LastIndexByte(data[:offset], '\n') + 1; mergeMarker(data[start:]) {
		return "this is a conflict marker of a merge", "resolve the conflict: keep one side and delete the marker lines", start
	}
	found := describe(data, offset)
	switch {
	case strings.HasPrefix(said, "unexpected character"), strings.HasPrefix(said, "expected keyword"),
		said == "strings must be quoted", strings.HasPrefix(said, "expected digit"):
		return explainValue(data, offset)
	case said == "expected value, not end of input":
		return "expected a value, found the end of the file", "write the value, or remove the line", offset
	case strings.HasPrefix(said, "expected value but"):
		return "expected a value, found " + found, "write the value, or remove the line", offset
	case said == "expected '=' after key":
		return "expected = after the name, found " + found, `write it as NAME = VALUE; a table header as [NAME]`, offset
	case strings.HasPrefix(said, "invalid character at start of key") && offset < len(data) && data[offset] >= utf8.RuneSelf:
		return "the name begins with " + found + " and is not in quotes", "put names with other letters than A to Z in quotes", offset
	case strings.HasPrefix(said, "invalid character at start of key"), strings.HasPrefix(said, "expected key but"):
		return "expected a name, found " + found, `every line is NAME = VALUE, [TABLE], or a comment after #`, offset
	case strings.HasPrefix(said, "expected newline but"):
		return "expected the end of the line, found " + found,
			"write one setting a line; text with spaces goes in quotes", offset
	case strings.HasPrefix(said, "expected ']'"):
		return "the table header is not closed, found " + found, "close it with ], like [base]", offset
	case strings.HasPrefix(said, "expected ']]'"):
		return "the table header is not closed, found " + found, "no table here is repeated: write [NAME] with one bracket", offset
	}
	return explainText(data, offset, said)
}

// explainText is about strings, lists and what is rare.
func explainText(data []byte, offset int, said string) (msg, remedy string, at int) {
	switch {
	case said == "array is incomplete", said == "inline table is incomplete":
		return "the file ends inside a list or an inline table", "close the list with ], the inline table with }", offset
	case strings.HasPrefix(said, "expected ',' or ']'"):
		return "expected , or ] in the list, found " + describe(data, offset),
			`separate entries with commas, put each in quotes, and close the list with ]`, offset
	case strings.HasPrefix(said, "expected ',' or '}'"):
		return "expected , or } in the inline table, found " + describe(data, offset),
			"separate entries with commas and close the table with }", offset
	case strings.HasSuffix(said, "cannot have new lines"), strings.HasPrefix(said, "unterminated"):
		return "the text is not closed on its line", "add the missing quote", offset
	case strings.HasPrefix(said, "multiline") && strings.Contains(said, "not terminated"):
		return "the text that three quotes open is not closed", "close it with three quotes", offset
	case strings.Contains(said, "control characters"), strings.Contains(said, "carriage return"):
		return "there is an invisible control character, " + describe(data, offset), "remove it, or write it as an escape like \\t", offset
	case strings.Contains(said, "escape"), strings.HasPrefix(said, "need a character after"):
		return "this is no escape sequence", `write a backslash as \\, or put the text in single quotes`, offset
	case strings.HasSuffix(said, "leading zeroes"):
		return "a number cannot begin with 0", "remove the leading zeroes", offset
	case strings.Contains(said, "nested"):
		return "lists or inline tables are nested too deep", "no setting needs a list in a list", offset
	}
	return said, "check how TOML writes this value", offset
}

// explainValue is about a value that is neither quoted nor a number, true or false.
func explainValue(data []byte, offset int) (msg, remedy string, at int) {
	for offset > 0 && isWord(data[offset-1]) {
		offset--
	}
	end := offset
	for end < len(data) && isWord(data[end]) {
		end++
	}
	word := string(data[offset:end])
	if plain := strings.Trim(word, "“”„‟‘’‚‛«»"); plain != word {
		return "these are typographic quotes", fmt.Sprintf("use straight ones: %s", quote(plain)), offset
	}
	switch strings.ToLower(word) {
	case "":
		return "expected a value, found " + describe(data, offset), `write text in quotes, like "git"`, offset
	case "true", "yes", "on":
		return fmt.Sprintf("%s is not a value", word), "write true", offset
	case "false", "no", "off":
		return fmt.Sprintf("%s is not a value", word), "write false", offset
	}
	return fmt.Sprintf("%s is neither in quotes nor a number", quote(word)), "write text in quotes: " + quote(word), offset
}

func isWord(c byte) bool {
	return isAlnum(c) || c >= utf8.RuneSelf || strings.IndexByte("_-./:~+@$%", c) >= 0
}

// describe names the character at offset.
func describe(data []byte, offset int) string {
	r, _ := utf8.DecodeRune(data[offset:])
	switch {
	case offset == len(data):
		return "the end of the file"
	case r == '\n', r == '\r':
		return "the end of the line"
	case r == ' ':
		return "a space"
	case r == '"', r == '\'':
		return "a quote"
	case hidden(r):
		return fmt.Sprintf("%U", r)
	}
	return quote(string(r))
}

// mergeMarker reports whether text begins with a line git leaves in a file with conflicts.
func mergeMarker(text []byte) bool {
	for _, marker := range []string{"<<<<<<<", "=======", ">>>>>>>", "|||||||"} {
		if bytes.HasPrefix(text, []byte(marker)) {
			return true
		}
	}
	return false
}
