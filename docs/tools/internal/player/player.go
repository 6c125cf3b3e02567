// Package player makes one classic script of the console's player, for pages that are
// opened as files: a browser loads no ES modules from those.
package player

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	importLine = regexp.MustCompile(`(?m)^import \{ ([\w, ]+) \} from '\./([\w-]+)\.js';\n`)
	exported   = regexp.MustCompile(`(?m)^export ((?:async )?function|class|const) (\w+)`)
)

// Script returns a script that defines microcommPlayer, with mountPlayer(element,
// ndjson, options) of mount.js, and links of where.js. modules is the folder
// final/console/page/console of a checkout; its style.css is the player's.
func Script(modules string) (string, error) {
	var script strings.Builder
	script.WriteString("'use strict';\nconst microcommPlayer = (() => {\n")
	done := map[string]bool{}
	for _, name := range []string{"mount", "where"} {
		if err := add(&script, modules, name, done); err != nil {
			return "", err
		}
	}
	script.WriteString("return { mountPlayer: $mount.mountPlayer, links: $where.links };\n})();\n")
	return script.String(), nil
}

// add appends a module, after those that it imports, as a function that returns what it exports.
func add(script *strings.Builder, modules, name string, done map[string]bool) error {
	if done[name] {
		return nil
	}
	done[name] = true
	source, err := os.ReadFile(filepath.Join(modules, name+".js"))
	if err != nil {
		return err
	}
	for _, found := range importLine.FindAllStringSubmatch(string(source), -1) {
		if err := add(script, modules, found[2], done); err != nil {
			return err
		}
	}
	var names []string
	for _, found := range exported.FindAllStringSubmatch(string(source), -1) {
		names = append(names, found[2])
	}
	body := importLine.ReplaceAllString(string(source), "const { $1 } = $$$2;\n")
	body = exported.ReplaceAllString(body, "$1 $2")
	fmt.Fprintf(script, "const $%s = (() => {\n%s\nreturn { %s };\n})();\n", name, body, strings.Join(names, ", "))
	return nil
}
