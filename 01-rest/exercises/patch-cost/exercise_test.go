//go:build exercise

package platformservice

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startToPatch runs a service in which platform 1 is Redis and 2 is NATS.
func startToPatch(t *testing.T) (url string) {
	t.Helper()
	service := startService(t, testConfig(t))
	service.waitReady(t)
	url = service.url + "/api/platforms"
	for _, body := range []string{
		`{"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`,
		`{"name":"NATS","publisher":"Synadia","cost":"Free"}`,
	} {
		require.Equal(t, http.StatusCreated, send(t, "POST", url, body).status)
	}
	return url
}

// requirePlatforms requires the list to be Redis with this cost, and NATS as it was.
func requirePlatforms(t *testing.T, url, cost string) {
	t.Helper()
	requireJSON(t, send(t, "GET", url, ""), http.StatusOK, `[
		{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"`+cost+`"},
		{"id":2,"name":"NATS","publisher":"Synadia","cost":"Free"}]`)
}

func TestPatchChangesTheCostAlone(t *testing.T) {
	url := startToPatch(t)
	r := send(t, "PATCH", url+"/1", `{"cost":"10 EUR a month"}`)
	requireJSON(t, r, http.StatusOK, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"10 EUR a month"}`)
	requirePlatforms(t, url, "10 EUR a month")

	// Other fields of the body are ignored, as everywhere; the case of a name does not matter.
	r = send(t, "PATCH", url+"/1/", `{"id":2,"name":"KeyDB","publisher":"","COST":"Free"}`)
	requireJSON(t, r, http.StatusOK, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`)
	requirePlatforms(t, url, "Free")

	// As in a POST, the limit counts characters, not bytes.
	longest := strings.Repeat("€", maxText)
	r = send(t, "PATCH", url+"/1", `{"cost":"`+longest+`"}`)
	requireJSON(t, r, http.StatusOK, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"`+longest+`"}`)
}

// A merge patch changes what it names (RFC 7396). This one names nothing.
func TestPatchWithoutACostChangesNothing(t *testing.T) {
	url := startToPatch(t)
	r := send(t, "PATCH", url+"/1", `{}`, "Content-Type", "application/merge-patch+json")
	requireJSON(t, r, http.StatusOK, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`)
	requirePlatforms(t, url, "Free")
}

func TestPatchRefusesBadInput(t *testing.T) {
	url := startToPatch(t)
	for _, cost := range []string{`null`, `""`, `" "`, `10`, `["Free"]`, `"` + strings.Repeat("x", maxText+1) + `"`} {
		requireProblem(t, send(t, "PATCH", url+"/1", `{"cost":`+cost+`}`), http.StatusBadRequest, "cost")
	}
	for _, body := range []string{"", "{", `"Free"`, `{"cost":"Free"} {}`} {
		requireProblem(t, send(t, "PATCH", url+"/1", body), http.StatusBadRequest)
	}
	requireProblem(t, send(t, "PATCH", url+"/abc", `{"cost":"1"}`), http.StatusBadRequest, "id")
	requireProblem(t, send(t, "PATCH", url+"/1", `{"cost":"1"}`, "Content-Type", "text/plain"), http.StatusUnsupportedMediaType)
	requirePlatforms(t, url, "Free")
}

func TestPatchOfAnUnknownPlatform(t *testing.T) {
	url := startToPatch(t)
	for _, id := range []string{"3", "0", "99999999999999999999"} {
		requireProblem(t, send(t, "PATCH", url+"/"+id, `{"cost":"1"}`), http.StatusNotFound)
		requireProblem(t, send(t, "PATCH", url+"/"+id, `{}`), http.StatusNotFound)
	}
	// The body is validated before the platform is looked up.
	requireProblem(t, send(t, "PATCH", url+"/3", `{"cost":""}`), http.StatusBadRequest, "cost")
	requirePlatforms(t, url, "Free")
}
