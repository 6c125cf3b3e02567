package console

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"microcomm/final/internal/web"
)

// newForward returns what forwards the page's own requests, under /api, to the
// services. Behind a gateway they never get here.
func newForward(platforms, commands target, transport http.RoundTripper) (http.Handler, error) {
	routes := http.NewServeMux()
	for path, t := range map[string]target{"/api/platforms": platforms, "/api/c/platforms": commands} {
		to, err := url.Parse(t.url)
		if err != nil {
			return nil, err
		}
		proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
		}, ErrorHandler: badGateway}
		routes.Handle(path, proxy)
		routes.Handle(path+"/", proxy)
	}
	return routes, nil
}

// badGateway says that what is behind an address does not respond.
func badGateway(w http.ResponseWriter, _ *http.Request, _ error) {
	web.WriteProblem(w, web.NewProblem(http.StatusBadGateway, "the service behind this address did not respond"))
}
