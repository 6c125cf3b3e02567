package console

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"microcomm/final/internal/requestid"
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
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what cannot be read: the service refuses it
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Header.Set(requestid.Header, requestid.From(r.In.Context()))
		}, ModifyResponse: func(response *http.Response) error {
			response.Header.Del(requestid.Header) // the console's own response has it, too
			return nil
		}, ErrorHandler: badGateway}
		routes.Handle(path, proxy)
		routes.Handle(path+"/", proxy)
	}
	routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		web.WriteProblem(w, web.NewProblem(http.StatusNotFound, "there is nothing at this path"))
	})
	return routes, nil
}

// badGateway says that what is behind an address does not respond.
func badGateway(w http.ResponseWriter, _ *http.Request, _ error) {
	web.WriteProblem(w, web.NewProblem(http.StatusBadGateway, "the service behind this address did not respond"))
}
