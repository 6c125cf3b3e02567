package web

import (
	"errors"
	"log/slog"
	"net/http"

	"microcomm/final/internal/requestid"
)

// Problem is an error as the client sees it: RFC 9457, application/problem+json.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Instance is the id of the request: what to look for in the log.
	Instance string      `json:"instance,omitempty"`
	Errors   FieldErrors `json:"errors,omitempty"` // an extension: what is wrong, by field
}

// Error makes a problem an error, so that a function can return one.
func (p *Problem) Error() string { return p.Detail }

// NewProblem returns a problem of this HTTP status, whose title says no more than that.
func NewProblem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// Invalid returns the 400 for an input with these errors.
func Invalid(errs FieldErrors) *Problem {
	p := NewProblem(http.StatusBadRequest, "invalid input: "+errs.Error())
	p.Errors = errs
	return p
}

// ProblemOf returns the problem for an error of this package, and nil for any other
// error. It ends the request when no response can be completed.
func ProblemOf(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) *Problem {
	var p *Problem
	var fields FieldErrors
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &fields):
		return Invalid(fields)
	case errors.Is(err, ErrKeyReused):
		return NewProblem(http.StatusUnprocessableEntity, ErrKeyReused.Error())
	case errors.Is(err, ErrOverloaded):
		return Unavailable(w, "too many requests at once; retry later")
	case errors.Is(err, ErrDisconnected):
		log.DebugContext(r.Context(), "client disconnected")
		Abort(r, StatusClientDisconnected)
	case errors.Is(err, ErrCutOff):
		log.WarnContext(r.Context(), "list not completed")
		Abort(r, http.StatusInternalServerError)
	}
	return nil
}

// WriteProblem writes p as the response to the request with the id that is in
// the response's header.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	p.Instance = w.Header().Get(requestid.Header)
	_ = writeBody(w, "application/problem+json", p.Status, p) // the client's loss
}
