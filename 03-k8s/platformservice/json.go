package platformservice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxBody is the size of the largest body that is read, in bytes.
const maxBody = 1 << 20

// requestBody is implemented by the structs that a body is decoded into.
type requestBody interface {
	validate() error // returns fieldErrors
}

// readJSON decodes the request's body into body, a pointer to a struct, and
// validates it. Field names are matched without regard to case, and unknown
// ones are ignored. It returns a problem (415, 413 or 400) or fieldErrors.
func readJSON(w http.ResponseWriter, r *http.Request, body requestBody) error {
	text, err := readBody(w, r)
	if err != nil {
		return err
	}
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, body); {
	case err == nil:
		return body.validate()
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fieldErrors{wrongType.Field: {"must be of type " + wrongType.Type.String()}}
	case errors.As(err, &wrongType):
		return newProblem(http.StatusBadRequest, "the body must be a JSON object")
	default: // a syntax error: its text says where, and quotes nothing but the body
		return newProblem(http.StatusBadRequest, "the body is not valid JSON: "+err.Error())
	}
}

// readBody returns the request's body: JSON by its Content-Type, not too large,
// and valid UTF-8.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, newProblem(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
		return nil, newProblem(http.StatusUnsupportedMediaType, "a compressed body is not accepted: send it without Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case err != nil:
		return nil, newProblem(http.StatusBadRequest, "the body ended early or arrived too slowly")
	case len(bytes.TrimSpace(body)) == 0:
		return nil, newProblem(http.StatusBadRequest, "the body is empty: send a JSON object")
	case !utf8.Valid(body): // encoding/json would silently replace what is not
		return nil, newProblem(http.StatusBadRequest, "the body contains text that is not valid UTF-8")
	}
	return body, nil
}

// isJSON reports whether contentType means JSON in UTF-8. It accepts what the
// .NET services accept, so that their clients can stay.
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

// writeJSON writes value as the response. It always returns nil, so that a
// handler can end with it.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	writeBody(w, "application/json", status, value)
	return nil
}

func writeBody(w http.ResponseWriter, contentType string, status int, value any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // fails only when the client has disconnected
}
