//go:build exercise

package platformservice

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pagingService is a service and, for what no route can do, its database.
type pagingService struct {
	url string
	db  *sql.DB
}

// startToPage runs a service with n platforms, ids 1 to n.
func startToPage(t *testing.T, n int) *pagingService {
	t.Helper()
	cfg := testConfig(t)
	service := startService(t, cfg)
	service.waitReady(t)
	db, err := sql.Open("sqlite3", "file:"+strings.TrimPrefix(cfg.DatabaseURL, "sqlite:")+"?_busy_timeout=5000")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	s := &pagingService{service.url, db}
	s.create(t, n)
	return s
}

func (s *pagingService) create(t *testing.T, n int) {
	t.Helper()
	for range n {
		r := send(t, "POST", s.url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
		require.Equal(t, http.StatusCreated, r.status)
	}
}

func (s *pagingService) delete(t *testing.T, id int) {
	t.Helper()
	_, err := s.db.Exec(`DELETE FROM platforms WHERE id = ?`, id)
	require.NoError(t, err)
}

// page returns the ids at address and the address of the next page, or "".
func (s *pagingService) page(t *testing.T, address string) (ids []int, next string) {
	t.Helper()
	r := send(t, "GET", address, "")
	require.Equal(t, http.StatusOK, r.status, r.body)
	var platforms []struct{ ID int }
	require.NoError(t, json.Unmarshal([]byte(r.body), &platforms))
	require.NotNil(t, platforms, "a page without platforms is [], not null")
	for _, p := range platforms {
		ids = append(ids, p.ID)
	}
	link := r.header.Get("Link")
	if link == "" {
		return ids, ""
	}
	target := regexp.MustCompile(`^<([^>]+)>; *rel="?next"?$`).FindStringSubmatch(link)
	require.NotNil(t, target, `want Link: <…>; rel="next", got %s`, link)
	base, err := url.Parse(address)
	require.NoError(t, err)
	to, err := base.Parse(target[1])
	require.NoError(t, err)
	return ids, to.String()
}

func TestPageLimits(t *testing.T) {
	s := startToPage(t, 3)
	for query, want := range map[string][]int{
		"?limit=2": {1, 2}, "?limit=1000": {1, 2, 3}, "?limit=2&after=1": {2, 3}, "?limit=2&after=0": {1, 2},
		"?after=2": {3}, "?limit=2&after=3": nil, "?limit=2&after=2147483647": nil, "": {1, 2, 3},
	} {
		ids, _ := s.page(t, s.url+"/api/platforms"+query)
		assert.Equal(t, want, ids, "ids at %q", query)
	}
}

func TestPagesAreLinked(t *testing.T) {
	s := startToPage(t, 6)
	for limit, want := range map[int][][]int{
		1: {{1}, {2}, {3}, {4}, {5}, {6}}, 4: {{1, 2, 3, 4}, {5, 6}},
		// The last page has no link, also when it is full: the next one would be empty.
		3: {{1, 2, 3}, {4, 5, 6}}, 6: {{1, 2, 3, 4, 5, 6}},
	} {
		var pages [][]int
		for next := fmt.Sprintf("%s/api/platforms/?limit=%d", s.url, limit); next != "" && len(pages) <= 6; {
			var ids []int
			ids, next = s.page(t, next)
			pages = append(pages, ids)
		}
		assert.Equal(t, want, pages, "pages of %d", limit)
	}
}

// Whatever is written between two pages, a platform that was there all the time
// is on exactly one of them.
func TestPagesAreStable(t *testing.T) {
	s := startToPage(t, 6)
	s.delete(t, 2)
	first, next := s.page(t, s.url+"/api/platforms?limit=2")
	require.Equal(t, []int{1, 3}, first)
	s.create(t, 1) // 7
	s.delete(t, 1) // on a page that was already read
	require.NotEmpty(t, next, "no link to the next page")
	second, next := s.page(t, next)
	assert.Equal(t, []int{4, 5}, second)
	s.delete(t, 5)
	s.create(t, 1) // 8
	require.NotEmpty(t, next, "no link to the next page")
	third, next := s.page(t, next)
	assert.Equal(t, []int{6, 7}, third)
	require.NotEmpty(t, next, "no link to the next page")
	last, next := s.page(t, next)
	assert.Equal(t, []int{8}, last)
	assert.Empty(t, next)
}

// noListing is a store that refuses to read all platforms.
type noListing struct{ platformStore }

func (noListing) platforms(context.Context) ([]platform, error) {
	return nil, errors.New("a million platforms do not fit into the memory")
}

func TestAPageReadsNoMoreThanAPage(t *testing.T) {
	store := memoryStore(t)
	require.NoError(t, store.createIfEmpty(t.Context(), []platform{{Name: "x", Publisher: "p", Cost: "1"}, {Name: "y", Publisher: "p", Cost: "1"}}))
	log, _ := captureLog()
	url := serve(t, (&restAPI{store: noListing{store}, log: log}).handler()) + "/api/platforms"
	for _, query := range []string{"?limit=1", "?limit=1&after=1", "?after=1"} {
		r := send(t, "GET", url+query, "")
		require.Equal(t, http.StatusOK, r.status, "%s asks the store for every platform: %s", query, r.body)
	}
}

func TestWrongPageValuesAreNamed(t *testing.T) {
	s := startToPage(t, 1)
	for parameter, values := range map[string][]string{
		"limit": {"0", "-1", "1001", "1.5", "all", "", "99999999999999999999"},
		"after": {"-1", "1.5", "x", "", "99999999999999999999"},
	} {
		for _, value := range values {
			r := send(t, "GET", s.url+"/api/platforms?"+parameter+"="+value, "")
			requireProblem(t, r, http.StatusBadRequest, parameter)
		}
	}
	r := send(t, "GET", s.url+"/api/platforms?limit=0&after=x", "")
	requireProblem(t, r, http.StatusBadRequest, "limit", "after")
}
