package commandsservice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// fieldErrors lists which fields of an input are invalid, and why. The messages
// are for the client that sent it.
type fieldErrors map[string][]string

// Error makes fieldErrors an error. The fields are in alphabetical order.
func (e fieldErrors) Error() string {
	var parts []string
	for _, field := range slices.Sorted(maps.Keys(e)) {
		parts = append(parts, field+" "+strings.Join(e[field], ", "))
	}
	return strings.Join(parts, "; ")
}

// orNil returns nil when nothing is wrong: an empty fieldErrors is not nil as
// an error.
func (e fieldErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

func (e fieldErrors) add(field, message string) { e[field] = append(e[field], message) }

// checkText requires text that is not blank and has at most limit characters
// (Unicode code points).
func (e fieldErrors) checkText(field, text string, limit int) {
	if strings.TrimSpace(text) == "" {
		e.add(field, "is required and must not be blank")
	}
	if utf8.RuneCountInString(text) > limit {
		e.add(field, fmt.Sprintf("must not be longer than %d characters", limit))
	}
}
