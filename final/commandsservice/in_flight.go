package commandsservice

import "net/http"

// limitInFlight lets next handle as many requests at once as limit says, and
// responds to any more with a 503. Those that it accepts are fast that way: the
// rest would only wait with them, for the same database.
func limitInFlight(limit int, next http.Handler) http.Handler {
	slots := make(chan struct{}, limit)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			writeProblem(w, unavailable(w, "too many requests at once; retry later"))
		}
	})
}
