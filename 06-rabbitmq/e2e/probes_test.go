package e2e

import (
	"net/http"
	"testing"
)

func TestProbes(t *testing.T) {
	s := local(t) // a gateway leads to the API alone
	s.platforms.start(t)
	s.commands.start(t)
	for _, service := range []*service{s.platforms, s.commands} {
		t.Run(service.name+" is alive and ready", func(t *testing.T) {
			service.call(t, http.MethodGet, "/livez", "", http.StatusOK, nil)
			service.call(t, http.MethodGet, "/readyz", "", http.StatusOK, nil)
		})
	}
}
