package platformservice

import (
	"strconv"
	"unicode/utf8"
)

// isUnicode reports whether encoding/json decodes text without changing it:
// it silently replaces bytes that are not UTF-8, and \u escapes that are half
// of a surrogate pair, by U+FFFD (RFC 8259, section 8.2).
func isUnicode(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		high := surrogate(text[i:])
		switch {
		case high == 0:
			i++ // the escaped character does not start another escape
		case high < 0xDC00 && surrogate(text[i+6:]) >= 0xDC00:
			i += 11
		default:
			return false
		}
	}
	return true
}

// surrogate returns the value of the \uD800 … \uDFFF escape that text begins
// with, or 0 when it begins with anything else.
func surrogate(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	value, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil || value < 0xD800 || value > 0xDFFF {
		return 0
	}
	return value
}
