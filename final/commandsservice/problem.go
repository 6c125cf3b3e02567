package commandsservice

import (
	"net/http"

	"microcomm/final/internal/requestid"
)

// problem is an error as the client sees it: RFC 9457, application/problem+json.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Instance is the id of the request: what to look for in the log.
	Instance string      `json:"instance,omitempty"`
	Errors   fieldErrors `json:"errors,omitempty"` // an extension: what is wrong, by field
}

// Error makes a problem an error, so that a function can return one.
func (p *problem) Error() string { return p.Detail }

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// invalid returns the 400 for an input with these errors.
func invalid(errs fieldErrors) *problem {
	p := newProblem(http.StatusBadRequest, "invalid input: "+errs.Error())
	p.Errors = errs
	return p
}

// writeProblem writes p as the response to the request with the id that is in
// the response's header.
func writeProblem(w http.ResponseWriter, p *problem) {
	p.Instance = w.Header().Get(requestid.Header)
	_ = writeBody(w, "application/problem+json", p.Status, p) // the client's loss
}
