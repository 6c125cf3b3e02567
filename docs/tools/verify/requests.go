package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// requestFile is a file of HTTP requests, as VS Code's REST Client and JetBrains'
// editors send them. Requests are separated by ###, and use the variables that
// @name = value sets. Comments before a request say what is expected:
//
//	# @name create
//	# expect 201
//	# expect header Location: /api/platforms/4
//	# expect body {"id":4,"name":"…",…}
//	# expect text some words of the body
//	# eventually
//
// In a body, … at the end of an object or an array stands for any further content, and the
// text "…" for any value, as it does for a header's value. eventually repeats the request
// for a while until the response is as expected.
//
// The first comment that has "go tool lab run STAGE" says how the stage is started.
type requestFile struct {
	path     string
	start    string // the arguments of lab run
	requests []*request
}

type request struct {
	line    int
	name    string
	method  string
	host    string // the variable that the URL begins with
	url     string
	headers [][2]string
	body    string

	status      int
	wantHeaders [][2]string
	wantBody    string // "": not compared
	wantTexts   []string
	eventually  bool
}

var (
	startLine    = regexp.MustCompile(`go tool lab run (\S.*?)\s*$`)
	variableLine = regexp.MustCompile(`^@(\w+)\s*=\s*(.*?)\s*$`)
	requestLine  = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (\S+)`)
	variable     = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
)

// parseRequests reads a request file.
func parseRequests(path, text string) (*requestFile, error) {
	f := &requestFile{path: path}
	variables := map[string]string{}
	r := &request{}
	inHeaders, inBody := false, false
	end := func(line int) error {
		switch {
		case r.method != "" && r.status == 0:
			return fmt.Errorf("%s:%d: this request expects no status", path, r.line)
		case r.method != "":
			r.body = strings.TrimSpace(r.body)
			f.requests = append(f.requests, r)
		case r.status != 0:
			return fmt.Errorf("%s:%d: no request before this line", path, line)
		}
		r, inHeaders, inBody = &request{}, false, false
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		wrong := func(why string) error { return fmt.Errorf("%s:%d: %s", path, i+1, why) }
		comment, isComment := strings.CutPrefix(line, "#")
		switch {
		case strings.HasPrefix(line, "###"):
			if err := end(i + 1); err != nil {
				return nil, err
			}
		case inBody:
			r.body += line + "\n"
		case inHeaders && line == "":
			inBody = true
		case inHeaders:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return nil, wrong("not a header")
			}
			r.headers = append(r.headers, [2]string{name, strings.TrimSpace(value)})
		case isComment:
			if found := startLine.FindStringSubmatch(comment); found != nil && f.start == "" {
				f.start = found[1]
			}
			if err := r.expect(strings.TrimSpace(comment)); err != nil {
				return nil, wrong(err.Error())
			}
		case line == "":
		default:
			if found := variableLine.FindStringSubmatch(line); found != nil {
				variables[found[1]] = found[2]
				continue
			}
			found := requestLine.FindStringSubmatch(line)
			if found == nil {
				return nil, wrong("neither a request, a comment nor a variable")
			}
			r.line, r.method, r.url, inHeaders = i+1, found[1], found[2], true
			if host := variable.FindStringSubmatch(r.url); host != nil {
				r.host = host[1]
			}
			r.url = variable.ReplaceAllStringFunc(r.url, func(name string) string {
				return variables[variable.FindStringSubmatch(name)[1]]
			})
		}
	}
	if err := end(strings.Count(text, "\n") + 1); err != nil {
		return nil, err
	}
	if f.start == "" {
		return nil, fmt.Errorf("%s: no comment says go tool lab run STAGE", path)
	}
	return f, nil
}

// expect reads a comment before a request.
func (r *request) expect(comment string) error {
	if name, ok := strings.CutPrefix(comment, "@name "); ok {
		r.name = name
	}
	if comment == "eventually" {
		r.eventually = true
	}
	expected, ok := strings.CutPrefix(comment, "expect ")
	if !ok {
		return nil
	}
	what, value, _ := strings.Cut(expected, " ")
	switch what {
	case "header":
		name, value, ok := strings.Cut(value, ":")
		if !ok {
			return errors.New("expect header needs NAME: VALUE")
		}
		r.wantHeaders = append(r.wantHeaders, [2]string{name, strings.TrimSpace(value)})
	case "body":
		if _, err := parsePattern(value); err != nil {
			return err
		}
		r.wantBody = value
	case "text":
		r.wantTexts = append(r.wantTexts, value)
	default:
		status, err := strconv.Atoi(expected)
		if err != nil || http.StatusText(status) == "" {
			return fmt.Errorf("unknown expectation: %s", expected)
		}
		r.status = status
	}
	return nil
}
