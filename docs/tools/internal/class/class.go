// Package class is what lab check --report sends to lab class.
package class

// Path is where a board takes a [Report], as JSON by POST.
const Path = "/class/report"

// MaxReport is how large a report may be, in bytes.
const MaxReport = 16 << 10

// Report is the result of one check of an exercise.
type Report struct {
	Name     string   `json:"name"`  // as the learner wants to be called
	Stage    string   `json:"stage"` // the folder: 06-rabbitmq
	Exercise string   `json:"exercise"`
	Passed   bool     `json:"passed"`
	Held     int      `json:"held"` // items of the acceptance
	Total    int      `json:"total"`
	Failed   []string `json:"failed,omitempty"` // tests
}
