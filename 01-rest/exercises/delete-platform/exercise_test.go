//go:build exercise

package platformservice

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startWithThree runs a service with the three example platforms, ids 1 to 3.
func startWithThree(t *testing.T) (url string) {
	t.Helper()
	cfg := testConfig(t)
	cfg.Seed = true
	service := startService(t, cfg)
	service.waitReady(t)
	return service.url + "/api/platforms"
}

// requireDeleted deletes the platform at url, which has to be there.
func requireDeleted(t *testing.T, url string) {
	t.Helper()
	r := send(t, "DELETE", url, "")
	require.Equal(t, http.StatusNoContent, r.status, "DELETE of a platform that is there: want 204 No Content. Body: %s", r.body)
	assert.Empty(t, r.body, "a 204 has no body")
	assert.Empty(t, r.header.Get("Content-Type"), "a 204 has no body, so no Content-Type")
}

func TestDeleteRemovesThePlatform(t *testing.T) {
	url := startWithThree(t)
	requireDeleted(t, url+"/2")
	requireProblem(t, send(t, "GET", url+"/2", ""), http.StatusNotFound)

	list := send(t, "GET", url, "").body
	assert.NotContains(t, list, `"id":2`, "the deleted platform is still in the list")
	assert.Contains(t, list, `"id":1`, "only platform 2 was to be deleted")
	assert.Contains(t, list, `"id":3`, "only platform 2 was to be deleted")
}

func TestDeleteTwiceIsNotFound(t *testing.T) {
	url := startWithThree(t)
	requireDeleted(t, url+"/3/") // a trailing slash makes no difference
	requireProblem(t, send(t, "DELETE", url+"/3", ""), http.StatusNotFound)
}

// Of many clients that delete one platform at once, one has deleted it. To look
// for the platform first and delete it then is two steps, and others come between.
func TestOfManyDeletesAtOnceOneSucceeds(t *testing.T) {
	url := startWithThree(t)
	for range 20 {
		created := send(t, "POST", url, `{"name":"x","publisher":"p","cost":"1"}`)
		require.Equal(t, http.StatusCreated, created.status)
		statuses := make([]int, 8)
		inParallel(t, len(statuses), func(i int) error {
			request, err := http.NewRequest("DELETE", url+strings.TrimPrefix(created.header.Get("Location"), "/api/platforms"), nil)
			if err != nil {
				return err
			}
			r, err := http.DefaultClient.Do(request)
			if err == nil {
				statuses[i] = r.StatusCode
				err = r.Body.Close()
			}
			return err
		})
		want := []int{http.StatusNoContent}
		for range len(statuses) - 1 {
			want = append(want, http.StatusNotFound)
		}
		slices.Sort(statuses)
		require.Equal(t, want, statuses, "statuses of %d DELETEs of one platform at once", len(statuses))
	}
}

func TestDeleteOfNothing(t *testing.T) {
	url := startWithThree(t)
	for _, id := range []string{"4", "0", "-1", "99999999999999999999"} {
		requireProblem(t, send(t, "DELETE", url+"/"+id, ""), http.StatusNotFound)
	}
	requireProblem(t, send(t, "DELETE", url+"/abc", ""), http.StatusBadRequest, "id")
	assert.Equal(t, 3, strings.Count(send(t, "GET", url, "").body, `"id":`), "all three platforms are still there")
}

func TestDeleteIsAllowedOnOnePlatformOnly(t *testing.T) {
	url := startWithThree(t)
	r := send(t, "PUT", url+"/1", "{}")
	requireProblem(t, r, http.StatusMethodNotAllowed)
	assert.Subset(t, strings.Split(r.header.Get("Allow"), ", "), []string{"DELETE", "GET", "HEAD"})

	r = send(t, "DELETE", url, "")
	requireProblem(t, r, http.StatusMethodNotAllowed)
	assert.NotContains(t, r.header.Get("Allow"), "DELETE")
}
