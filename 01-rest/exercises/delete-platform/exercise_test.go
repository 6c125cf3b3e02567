//go:build exercise

package platformservice

import (
	"database/sql"
	"net/http"
	"path/filepath"
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
// for the platform first and delete it then is two steps, and others come between:
// here the database is locked until all have looked.
func TestOfManyDeletesAtOnceOneSucceeds(t *testing.T) {
	const many = 8
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	createPlatform(t, store, "x")
	log, _ := captureLog()
	url := serve(t, newAPI(store, log).handler()) + "/api/platforms/1"
	other, err := sql.Open("sqlite3", "file:"+file+"?_txlock=immediate")
	require.NoError(t, err)
	defer other.Close()
	lock, err := other.Begin()
	require.NoError(t, err)

	statuses := make(chan int, many)
	for range many {
		go func() { statuses <- send(t, "DELETE", url, "").status }()
	}
	eventually(t, "all DELETEs are at the locked database", func() bool {
		return store.(*sqliteStore).db.Stats().InUse == many || len(statuses) > 0
	})
	require.NoError(t, lock.Rollback())
	got := map[int]int{}
	for range many {
		got[receive(t, "the response to a DELETE", statuses)]++
	}
	want := map[int]int{http.StatusNoContent: 1, http.StatusNotFound: many - 1}
	require.Equal(t, want, got, "how many of %d DELETEs of one platform at once got each status", many)
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
