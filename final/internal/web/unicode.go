package web

import (
	"strconv"
	"unicode/utf8"
)

// IsUnicode reports whether encoding/json decodes text without changing it:
// it silently replaces bytes that are not UTF-8, and \u escapes that are half
// of a surrogate pair, with U+FFFD (RFC 8259, section 8.2).
func IsUnicode(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first := surrogate(text[i:])
		switch {
		case first == 0: // another escape, such as \n or \\
			i++ // the escaped character does not start an escape itself
		case first < 0xDC00 && surrogate(text[i+escapeLength:]) >= 0xDC00: // a high and a low one
			i += 2*escapeLength - 1 // the loop adds one
		default: // half of a pair
			return false
		}
	}
	return true
}

// escapeLength is the length of \uXXXX.
const escapeLength = 6

// surrogate returns the value of the \uD800 … \uDFFF escape that text begins
// with, or 0 when it begins with anything else.
func surrogate(text []byte) uint64 {
	if len(text) < escapeLength || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	value, err := strconv.ParseUint(string(text[2:escapeLength]), 16, 16)
	if err != nil || value < 0xD800 || value > 0xDFFF {
		return 0
	}
	return value
}
