package console

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/web"
)

// newForward returns what forwards the page's own requests, under /api, to the
// services. Behind a gateway they never get here.
func newForward(platforms, commands target, transport http.RoundTripper) (http.Handler, error) {
	proxies := map[string]http.Handler{}
	for path, t := range map[string]target{"/api/platforms": platforms, "/api/c/platforms": commands} {
		to, err := url.Parse(t.url)
		if err != nil {
			return nil, err
		}
		proxies[path] = &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what cannot be read: the service refuses it
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Header.Set(requestid.Header, requestid.From(r.In.Context()))
		}, ModifyResponse: func(response *http.Response) error {
			response.Header.Del(requestid.Header) // the console's own response has it, too
			return nil
		}, ErrorHandler: badGateway}
	}
	// No http.ServeMux: it would redirect where the services do not.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for path, proxy := range proxies {
			if rest, ok := strings.CutPrefix(r.URL.Path, path); ok && (rest == "" || rest[0] == '/') {
				proxy.ServeHTTP(w, r)
				return
			}
		}
		web.WriteProblem(w, web.NewProblem(http.StatusNotFound, "there is nothing at this path"))
	}), nil
}

// badGateway says that what is behind an address does not respond.
func badGateway(w http.ResponseWriter, _ *http.Request, _ error) {
	web.WriteProblem(w, web.NewProblem(http.StatusBadGateway, "the service behind this address did not respond"))
}
