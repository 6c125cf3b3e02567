package web

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// FieldErrors lists which fields of an input are invalid, and why. The messages
// are for the client that sent it.
type FieldErrors map[string][]string

// Error makes FieldErrors an error. The fields are in alphabetical order.
func (e FieldErrors) Error() string {
	var parts []string
	for _, field := range slices.Sorted(maps.Keys(e)) {
		parts = append(parts, field+" "+strings.Join(e[field], ", "))
	}
	return strings.Join(parts, "; ")
}

// OrNil returns nil when nothing is wrong: an empty FieldErrors is not nil as
// an error.
func (e FieldErrors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Add adds a message for field.
func (e FieldErrors) Add(field, message string) { e[field] = append(e[field], message) }

// CheckText requires text that is not blank and has at most limit characters
// (Unicode code points).
func (e FieldErrors) CheckText(field, text string, limit int) {
	if strings.TrimSpace(text) == "" {
		e.Add(field, "is required and must not be blank")
	}
	if utf8.RuneCountInString(text) > limit {
		e.Add(field, fmt.Sprintf("must not be longer than %d characters", limit))
	}
}
