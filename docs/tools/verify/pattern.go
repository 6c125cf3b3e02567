package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parsePattern reads JSON in which … may be the last of an object or an array.
func parsePattern(text string) (any, error) {
	var pure strings.Builder
	var inside []rune // the brackets around
	inString, escaped := false, false
	for _, r := range text {
		switch {
		case inString:
			inString = r != '"' || escaped
			escaped = r == '\\' && !escaped
		case r == '"':
			inString = true
		case r == '{' || r == '[':
			inside = append(inside, r)
		case (r == '}' || r == ']') && len(inside) > 0:
			inside = inside[:len(inside)-1]
		case string(r) == ellipsis && len(inside) > 0 && inside[len(inside)-1] == '{':
			pure.WriteString(`"…":0`)
			continue
		case string(r) == ellipsis:
			pure.WriteString(`"…"`)
			continue
		}
		pure.WriteRune(r)
	}
	return decodeJSON(pure.String())
}

func decodeJSON(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return value, nil
}

// conforms returns an error if got does not match the pattern; at is the place in the body.
func conforms(want, got any, at string) error {
	if want == ellipsis {
		return nil
	}
	wrong := fmt.Errorf("%s is %s, not %s", at, shown(got), shown(want))
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return wrong
		}
		_, more := want[ellipsis]
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if name == ellipsis {
				continue
			}
			value, ok := have[name]
			if !ok {
				return fmt.Errorf("%s has no %s: %s", at, name, shown(got))
			}
			if err := conforms(want[name], value, at+"."+name); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(have)) {
			if _, ok := want[name]; !ok && !more {
				return fmt.Errorf("%s has %s, which is not expected: %s", at, name, shown(got))
			}
		}
		return nil
	case []any:
		have, ok := got.([]any)
		if !ok {
			return wrong
		}
		more := len(want) > 0 && want[len(want)-1] == ellipsis
		if more {
			want = want[:len(want)-1]
		}
		if len(have) < len(want) || len(have) > len(want) && !more {
			return fmt.Errorf("%s has %d items, not %d: %s", at, len(have), len(want), shown(got))
		}
		for i := range want {
			if err := conforms(want[i], have[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if want != got {
		return wrong
	}
	return nil
}

func shown(value any) string {
	text, _ := json.Marshal(value) // it was JSON before
	return string(text)
}
