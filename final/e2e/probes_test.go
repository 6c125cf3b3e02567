package e2e

import (
	"net/http"
	"strings"
	"testing"
)

func TestProbes(t *testing.T) {
	s := busOnly(t) // and of its own: a gateway leads to the API alone
	s.platforms.start(t)
	s.commands.start(t)
	for _, service := range []*service{s.platforms, s.commands} {
		t.Run(service.name+" is alive and becomes ready", func(t *testing.T) {
			service.call(t, http.MethodGet, "/livez", "", http.StatusOK, nil)
			eventually(t, "readiness, after the first backfill", func() bool {
				status, body, err := service.send(http.MethodGet, "/readyz", "")
				return err == nil && status == http.StatusOK && strings.Contains(string(body), `"broker":{"status":"ok"}`)
			})
		})
	}
}
