package main

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// lineAnchor is #L10 or #L10-L20 at a source file.
var lineAnchor = regexp.MustCompile(`^L(\d+)(?:-L(\d+))?$`)

// checkLinks reports every relative link of d without a target. It does not follow links
// to other sites.
func (c *checkout) checkLinks(d *document) error {
	var wrong []error
	for _, l := range d.links {
		if err := c.checkLink(d, l.target); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %s: %w", d.path, l.line, l.target, err))
		}
	}
	return errors.Join(wrong...)
}

func (c *checkout) checkLink(d *document, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	if to.Scheme != "" || to.Host != "" {
		return nil
	}
	file := d.path
	switch {
	case strings.HasPrefix(to.Path, "/"):
		file = path.Clean(to.Path[1:])
	case to.Path != "":
		file = path.Join(path.Dir(d.path), to.Path)
	}
	if !c.has(file) {
		return errors.New("there is no such file")
	}
	if to.Fragment == "" {
		return nil
	}
	if strings.HasSuffix(file, ".md") {
		other, err := c.document(file)
		if err != nil {
			return err
		}
		if !other.anchors[to.Fragment] {
			return fmt.Errorf("%s has no such heading", file)
		}
		return nil
	}
	lines := lineAnchor.FindStringSubmatch(to.Fragment)
	if lines == nil {
		return fmt.Errorf("%s is not Markdown", file)
	}
	content, err := c.read(file)
	if err != nil {
		return err
	}
	for _, number := range lines[1:] {
		n, err := strconv.Atoi(number)
		if number != "" && (err != nil || n < 1 || n > strings.Count(content, "\n")) {
			return fmt.Errorf("%s has no line %s", file, number)
		}
	}
	return nil
}
