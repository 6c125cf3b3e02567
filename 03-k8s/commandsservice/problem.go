package commandsservice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody is the size of the largest body that is read, in bytes.
const maxBody = 1 << 20

// problem is an error as the client sees it: RFC 9457, application/problem+json.
type problem struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Errors fieldErrors `json:"errors,omitempty"`
}

// Error makes a problem an error, so that a function can return one.
func (p *problem) Error() string { return p.Detail }

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// fieldErrors says what is wrong with which field of a body.
type fieldErrors map[string][]string

func (e fieldErrors) add(field, message string) { e[field] = append(e[field], message) }

func (e fieldErrors) requireText(field, value string) {
	if strings.TrimSpace(value) == "" {
		e.add(field, "is required and must not be blank")
	}
}

// problem returns nil when there are no errors.
func (e fieldErrors) problem() error {
	if len(e) == 0 {
		return nil
	}
	fields := make([]string, 0, len(e))
	for field := range e {
		fields = append(fields, field)
	}
	sort.Strings(fields)
	p := newProblem(http.StatusBadRequest, "not valid: "+strings.Join(fields, ", "))
	p.Errors = e
	return p
}

// writeError answers err. Only a problem is shown to the client; anything else
// is ours to know: it is logged, and the client gets a bare 500.
func writeError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	var p *problem
	if !errors.As(err, &p) {
		log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		p = newProblem(http.StatusInternalServerError, "the service could not do this; its log says why")
	}
	write(w, "application/problem+json", p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	write(w, "application/json", status, value)
}

func write(w http.ResponseWriter, contentType string, status int, value any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // fails only when the client is gone
}

// methods is a handler for each method of one path. HEAD is answered as GET;
// what is not there is a 405 that says what is.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle, ok := m[method]; ok {
		handle(w, r)
		return
	}
	allowed := make([]string, 0, len(m)+1)
	for name := range m {
		allowed = append(allowed, name)
		if name == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	sort.Strings(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	p := newProblem(http.StatusMethodNotAllowed, fmt.Sprintf("%s is not allowed here", r.Method))
	write(w, "application/problem+json", p.Status, p)
}

// parseID reads an id from a path. A text that is not an integer is a problem;
// an integer that can be nobody's id becomes 0, which no store knows, and so
// ends as the 404 that it is.
func parseID(field, text string) (int32, error) {
	id, err := strconv.ParseInt(text, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		errs := fieldErrors{}
		errs.add(field, "must be an integer")
		return 0, errs.problem()
	case err != nil || id < 1:
		return 0, nil
	}
	return int32(id), nil
}

// readJSON reads the request's body into the struct that into points to. Names
// are matched without regard to case and unknown ones ignored. An error is
// always a problem: 415, 413 or 400.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if !isJSON(r.Header.Get("Content-Type")) {
		return newProblem(http.StatusUnsupportedMediaType, "the Content-Type has to be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
		}
		return newProblem(http.StatusBadRequest, "the body could not be read to its end")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return newProblem(http.StatusBadRequest, "the body is empty; a JSON object is needed")
	}
	if !isText(body) {
		return newProblem(http.StatusBadRequest, "the body holds text that is not valid Unicode")
	}

	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, into); {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field != "":
		errs := fieldErrors{}
		errs.add(wrongType.Field, "must be "+typeName(wrongType))
		return errs.problem()
	case errors.As(err, &wrongType):
		return newProblem(http.StatusBadRequest, "the body has to be a JSON object")
	default: // its text tells the place, and comes from the body alone
		return newProblem(http.StatusBadRequest, "the body is not valid JSON: "+err.Error())
	}
}

func typeName(err *json.UnmarshalTypeError) string {
	if err.Type.Kind().String() == "string" {
		return "a string"
	}
	return "a positive 32-bit integer"
}

// isJSON accepts what ASP.NET Core takes for JSON, in UTF-8.
func isJSON(contentType string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return mediaType == "application/json" || mediaType == "text/json" ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
}

// isText is false for a body that encoding/json would change in silence: it
// puts U+FFFD in the place of bytes that are not UTF-8 and of \u escapes that
// are half of a surrogate pair (RFC 8259, section 8.2).
func isText(body []byte) bool {
	if !utf8.Valid(body) {
		return false
	}
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		high := surrogate(body[i:])
		switch {
		case high == 0:
			i++ // the escaped character is no start of another escape
		case high < 0xDC00 && surrogate(body[i+6:]) >= 0xDC00:
			i += 11
		default:
			return false
		}
	}
	return true
}

// surrogate returns the value of the \uD800 … \uDFFF escape that text begins
// with, or 0 when it does not begin with one.
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
