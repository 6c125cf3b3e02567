package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// requestBody is implemented by the structs that a body is decoded into.
type requestBody interface {
	Validate() error // returns FieldErrors
}

// ReadJSON decodes the request's body into body, a pointer to a struct, and
// validates it. Field names are matched without regard to case, and unknown
// ones are ignored. It returns a problem (400, 408, 413, 415 or 503), FieldErrors
// or ErrDisconnected.
func ReadJSON(w http.ResponseWriter, r *http.Request, bodies *Bodies, body requestBody) error {
	text, free, err := readBody(w, r, bodies)
	if err != nil {
		return err
	}
	defer free()
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, body); {
	case err == nil:
		return body.Validate()
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return FieldErrors{wrongType.Field: {"must be of type " + wrongType.Type.String()}}
	case errors.As(err, &wrongType):
		return NewProblem(http.StatusBadRequest, "the body must be a JSON object")
	default: // a syntax error: its text says where, and quotes nothing but the body
		return NewProblem(http.StatusBadRequest, "the body is not valid JSON: "+err.Error())
	}
}

// readBody returns the request's body: JSON by its Content-Type, not too large,
// and valid Unicode. The caller must call free when it no longer needs the body.
func readBody(w http.ResponseWriter, r *http.Request, bodies *Bodies) (body []byte, free func(), err error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, nil, NewProblem(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
		return nil, nil, NewProblem(http.StatusUnsupportedMediaType, "a compressed body is not accepted: send it without Content-Encoding")
	}
	body, free, err = bodies.Read(w, r)
	if refused := (*BodyError)(nil); errors.As(err, &refused) {
		return nil, nil, refused.Problem(w)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		err = NewProblem(http.StatusBadRequest, "the body is empty: send a JSON object")
	case !IsUnicode(body):
		err = NewProblem(http.StatusBadRequest, "the body contains text that is not valid Unicode")
	}
	if err != nil {
		free()
	}
	return body, free, err
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

// WriteJSON writes value as the response, or returns ErrDisconnected. A
// handler ends with it.
func WriteJSON(w http.ResponseWriter, status int, value any) error {
	return writeBody(w, "application/json", status, value)
}

func writeBody(w http.ResponseWriter, contentType string, status int, value any) error {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}
