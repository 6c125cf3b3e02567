package commandsservice

import (
	"net/http"
)

// problem is an error as the client sees it: RFC 9457, application/problem+json.
type problem struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Errors fieldErrors `json:"errors,omitempty"` // an extension: what is wrong, by field
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

func writeProblem(w http.ResponseWriter, p *problem) {
	writeBody(w, "application/problem+json", p.Status, p)
}
