package web

import (
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

// WriteProblem writes p as the response to the request with the id that is in
// the response's header.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	p.Instance = w.Header().Get(requestid.Header)
	_ = writeBody(w, "application/problem+json", p.Status, p) // the client's loss
}
