package console

import (
	"bufio"
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"microcomm/final/internal/web"
)

// controlTimeout bounds one request to lab.
const controlTimeout = 10 * time.Second

// controlHeader has to be in a request that breaks something. A page of another origin
// can't send it without asking first.
const controlHeader = "X-Microcomm-Control"

// control forwards a request to lab, which alone can break parts. The services offer
// no such thing; and without lab, the console doesn't.
func (s *service) control(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.ControlURL == "" {
		return web.NewProblem(http.StatusNotFound, "there is nothing at this path: only `lab run` offers to break parts")
	}
	if r.Method != http.MethodGet && (r.Header.Get(controlHeader) != "1" || !sameOrigin(r)) {
		return web.NewProblem(http.StatusForbidden, "only the console's own page may do that")
	}
	ctx, cancel := context.WithTimeout(r.Context(), controlTimeout)
	defer cancel()
	s.toControl.ServeHTTP(w, r.WithContext(ctx))
	return nil
}

// sameOrigin reports whether the request comes from the console's own page, on this
// machine: a name that someone else's DNS points here is not enough.
func sameOrigin(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host != r.Host {
		return false
	}
	return isOwnName(origin.Hostname())
}

// misdirected reports whether a browser on this machine asks by a name that someone
// else's DNS points here: then a page of theirs would read the answer.
func misdirected(r *http.Request) bool {
	asked := url.URL{Host: r.Host}
	return web.OnLoopback(r) && !isOwnName(asked.Hostname())
}

// isOwnName reports whether a host is this machine, whatever any DNS says.
func isOwnName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newControl returns what forwards to lab, with the secret, which no proxy may see.
func newControl(cfg Config, transport http.RoundTripper) (http.Handler, error) {
	target, err := url.Parse(cfg.ControlURL)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("Authorization", "Bearer "+string(cfg.ControlSecret))
	}, ErrorHandler: badGateway}, nil
}

// faults returns what lab offers to break, or nil.
func (s *service) faults(ctx context.Context) any {
	if s.cfg.ControlURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.ControlURL+"/control/faults", nil)
	if err != nil {
		return nil
	}
	request.Header.Set("Authorization", "Bearer "+string(s.cfg.ControlSecret))
	response, err := s.client.Do(request)
	if err != nil {
		s.log.WarnContext(ctx, "faults not offered", "error", err)
		return nil
	}
	defer response.Body.Close()
	var offered struct {
		Faults json.RawMessage `json:"faults"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, web.MaxBody)).Decode(&offered); err != nil {
		s.log.WarnContext(ctx, "faults not offered", "error", err)
		return nil
	}
	return offered.Faults
}

// post is POST /feed: lines from lab, which knows the state of the processes that it
// has started. The console gives them their numbers.
func (s *service) post(w http.ResponseWriter, r *http.Request) error {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.cfg.ControlSecret == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.cfg.ControlSecret)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return web.NewProblem(http.StatusUnauthorized, "only `lab` may add lines")
	}
	body, free, err := s.read(w, r)
	if err != nil {
		return err
	}
	defer free()
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, web.MaxBody)
	for lines.Scan() {
		if err := s.accept(lines.Bytes()); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// accept adds a line of lab's.
func (s *service) accept(text []byte) error {
	var l struct {
		Time          time.Time
		Kind, Subject string
		Content       json.RawMessage
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, &l); err != nil || !bytes.HasPrefix(l.Content, []byte("{")) || l.Subject == "" ||
		!slices.Contains([]string{"part", "fault", "note", "hop"}, l.Kind) {
		return web.NewProblem(http.StatusBadRequest, "not a line of a kind that lab adds")
	}
	if l.Time.IsZero() {
		l.Time = time.Now()
	}
	if l.Kind == "part" {
		var content partContent
		if err := json.Unmarshal(l.Content, &content); err != nil {
			return web.NewProblem(http.StatusBadRequest, "not the content of a part")
		}
		s.parts.hold(l.Time, strings.TrimPrefix(l.Subject, "part/"), content)
		return nil
	}
	s.feed.add(l.Time, l.Kind, l.Subject, l.Content)
	return nil
}
