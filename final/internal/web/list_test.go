package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// number is an item of the lists here: 1, 2, 3 …
type number int32

func (n number) ItemID() int32 { return int32(n) }

// numbers reads the list of 1 to last.
func numbers(last int32) web.ReadItems[number] {
	return func(_ context.Context, after int32, limit int) ([]number, bool, error) {
		items := []number{}
		for after < last && len(items) < limit {
			after++
			items = append(items, number(after))
		}
		return items, after < last, nil
	}
}

// listHandler handles GET /list.
func listHandler(read web.ReadItems[number]) (http.Handler, *testkit.LogCapture) {
	log, logged := testkit.CaptureLog()
	routes := web.NewRouter(nil, fail(log))
	var large atomic.Int32
	routes.Handle("/list", web.ByMethod{http.MethodGet: web.Public(func(w http.ResponseWriter, r *http.Request) error {
		return web.WriteList(w, r, &large, read)
	})})
	return routes, logged
}

// fail responds to errors as the services do.
func fail(log *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		var p *web.Problem
		var fields web.FieldErrors
		switch {
		case errors.As(err, &p):
		case errors.As(err, &fields):
			p = web.Invalid(fields)
		case errors.Is(err, web.ErrOverloaded):
			p = web.Unavailable(w, "too many requests at once; retry later")
		case errors.Is(err, web.ErrDisconnected):
			log.DebugContext(r.Context(), "client disconnected", "error", err)
			web.Abort(r, web.StatusClientDisconnected)
		case errors.Is(err, web.ErrCutOff):
			log.WarnContext(r.Context(), "list not completed", "error", err)
			web.Abort(r, http.StatusInternalServerError)
		default:
			log.ErrorContext(r.Context(), "request failed", "error", err)
			p = web.NewProblem(http.StatusInternalServerError, "internal error")
		}
		web.WriteProblem(w, p)
	}
}

func serveList(t testing.TB, read web.ReadItems[number]) (url string, logged *testkit.LogCapture) {
	t.Helper()
	handler, logged := listHandler(read)
	return testkit.Serve(t, handler) + "/list", logged
}

// getBroken returns what arrives of a response that breaks off.
func getBroken(t testing.TB, url string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(testkit.NewRequest(t, "GET", url, nil))
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	return string(body)
}

func TestListWhole(t *testing.T) {
	for _, length := range []int32{0, 1, 2, web.MaxLimit - 1, web.MaxLimit, web.MaxLimit + 1, 3 * web.MaxLimit, 30*web.MaxLimit + 1} {
		t.Run(fmt.Sprintf("of %d has the bytes of encoding/json, and is read in chunks", length), func(t *testing.T) {
			url, _ := serveList(t, func(ctx context.Context, after int32, limit int) ([]number, bool, error) {
				assert.LessOrEqual(t, limit, web.MaxLimit)
				return numbers(length)(ctx, after, limit)
			})
			all, _, _ := numbers(length)(t.Context(), 0, math.MaxInt32)
			var expected bytes.Buffer
			require.NoError(t, json.NewEncoder(&expected).Encode(all))
			r := testkit.Send(t, "GET", url, "")
			assert.Equal(t, http.StatusOK, r.Status)
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			assert.Equal(t, expected.String(), r.Body)
			assert.Empty(t, r.Header.Get("Link"))
		})
	}

	t.Run("asked for with HEAD is not read to its end", func(t *testing.T) {
		url, _ := serveList(t, numbers(math.MaxInt32))
		r := testkit.Send(t, "HEAD", url, "")
		assert.Equal(t, http.StatusOK, r.Status)
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
	})
}

func TestListPage(t *testing.T) {
	url, _ := serveList(t, numbers(1002))
	for _, row := range []struct{ query, body, next string }{
		{"limit=1", `[1]`, "limit=1&after=1"},
		{"limit=3&after=0", `[1,2,3]`, "limit=3&after=3"},
		{"after=7&limit=2", `[8,9]`, "limit=2&after=9"},
		{"limit=2&after=1000", `[1001,1002]`, ""},
		{"limit=2&after=999", `[1000,1001]`, "limit=2&after=1001"},
		{"limit=1000&after=1001", `[1002]`, ""},
		{"limit=1&after=1002", `[]`, ""},
		{"limit=1&after=2147483647", `[]`, ""},
		{"limit=1&other=%20", `[1]`, "limit=1&after=1"},
		{"limit=%31", `[1]`, "limit=1&after=1"},
	} {
		t.Run(row.query, func(t *testing.T) {
			r := testkit.Send(t, "GET", url+"?"+row.query, "")
			testkit.RequireJSON(t, r, http.StatusOK, row.body)
			var link string
			if row.next != "" {
				link = `</list?` + row.next + `>; rel="next"`
			}
			assert.Equal(t, link, r.Header.Get("Link"))
			head := testkit.Send(t, "HEAD", url+"/?"+row.query, "")
			assert.Equal(t, link, head.Header.Get("Link"), "a trailing slash and HEAD change nothing")
		})
	}

	t.Run("the longest page", func(t *testing.T) {
		r := testkit.Send(t, "GET", url+"?limit=1000", "")
		assert.Equal(t, 999, strings.Count(r.Body, ","))
		assert.Equal(t, `</list?limit=1000&after=1000>; rel="next"`, r.Header.Get("Link"))
	})
}

// wideNumbers reads the list of 1 to last, a few items at a time, as a store does
// whose items have much text. It counts the items.
func wideNumbers(last int32, count *int) web.ReadItems[number] {
	return func(ctx context.Context, after int32, limit int) ([]number, bool, error) {
		items, more, err := numbers(last)(ctx, after, min(limit, 3))
		*count += len(items)
		return items, more, err
	}
}

// TestListOfMuchText: the store reads fewer items than it is asked for. What the
// client gets is the same.
func TestListOfMuchText(t *testing.T) {
	for _, row := range []struct {
		query, body, next string
		read              int
	}{
		{"", `[1,2,3,4,5,6,7,8,9,10]`, "", 10},
		{"?limit=3", `[1,2,3]`, "limit=3&after=3", 3},
		{"?limit=4", `[1,2,3,4]`, "limit=4&after=4", 7},
		{"?limit=7&after=1", `[2,3,4,5,6,7,8]`, "limit=7&after=8", 13},
		{"?limit=9&after=1", `[2,3,4,5,6,7,8,9,10]`, "", 15},
		{"?limit=1000&after=1", `[2,3,4,5,6,7,8,9,10]`, "", 15},
		{"?limit=1000&after=10", `[]`, "", 0},
	} {
		t.Run(row.query, func(t *testing.T) {
			count := 0
			url, _ := serveList(t, wideNumbers(10, &count))
			r := testkit.Send(t, "GET", url+row.query, "")
			testkit.RequireJSON(t, r, http.StatusOK, row.body)
			var link string
			if row.next != "" {
				link = `</list?` + row.next + `>; rel="next"`
			}
			assert.Equal(t, link, r.Header.Get("Link"))
			assert.LessOrEqual(t, count, row.read+2, "no item is read more than twice")
		})
	}
}

func TestListQueryRefused(t *testing.T) {
	url, _ := serveList(t, numbers(5))
	for _, row := range []struct {
		query  string
		fields []string
	}{
		{"limit", []string{"limit"}},
		{"limit=", []string{"limit"}},
		{"limit=0", []string{"limit"}},
		{"limit=-1", []string{"limit"}},
		{"limit=1001", []string{"limit"}},
		{"limit=99999999999999999999", []string{"limit"}},
		{"limit=x", []string{"limit"}},
		{"limit=1.0", []string{"limit"}},
		{"limit=1e1", []string{"limit"}},
		{"limit=0x1", []string{"limit"}},
		{"limit=+1", []string{"limit"}}, // a + is a blank here
		{"limit=1%20", []string{"limit"}},
		{"limit=%D9%A1", []string{"limit"}},
		{"limit=1&limit=2", []string{"limit"}},
		{"limit=1&after=", []string{"after"}},
		{"limit=1&after=x", []string{"after"}},
		{"limit=1&after=-1", []string{"after"}},
		{"limit=1&after=2147483648", []string{"after"}},
		{"limit=1&after=1&after=1", []string{"after"}},
		{"limit=x&after=x", []string{"limit", "after"}},
		{"after=1", []string{"after"}},
		{"limit=%", nil},
		{"limit=1;after=1", nil},
	} {
		t.Run(row.query, func(t *testing.T) {
			testkit.RequireProblem(t, testkit.Send(t, "GET", url+"?"+row.query, ""), http.StatusBadRequest, row.fields...)
		})
	}
}

// TestListCutOff: a list that cannot be completed does not look complete.
func TestListCutOff(t *testing.T) {
	failAfter := func(last int32) web.ReadItems[number] {
		return func(ctx context.Context, after int32, limit int) ([]number, bool, error) {
			if after >= last {
				return nil, false, errors.New("disk on fire")
			}
			return numbers(math.MaxInt32)(ctx, after, limit)
		}
	}

	t.Run("a failure at the start is a problem", func(t *testing.T) {
		url, _ := serveList(t, failAfter(0))
		testkit.RequireProblem(t, testkit.Send(t, "GET", url, ""), http.StatusInternalServerError)
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+"?limit=1", ""), http.StatusInternalServerError)
	})

	t.Run("a failure in the middle breaks the connection, and is logged once", func(t *testing.T) {
		url, logged := serveList(t, failAfter(25*web.MaxLimit))
		body := getBroken(t, url)
		assert.Contains(t, body, fmt.Sprint(web.MaxLimit))
		assert.NotContains(t, body, "]")
		assert.NotContains(t, body, "disk")
		require.Len(t, logged.Lines(""), 1)
		assert.Len(t, logged.Lines("disk on fire"), 1)
	})

	t.Run("a client that disconnects ends it, and is no error", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		url, logged := serveList(t, numbers(math.MaxInt32))
		transport := &http.Transport{DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Do(testkit.NewRequest(t, "GET", url, nil))
		require.NoError(t, err)
		_, err = io.ReadFull(response.Body, make([]byte, 100_000))
		require.NoError(t, err)
		response.Body.Close()
		testkit.Eventually(t, "the end of the list", func() bool { return len(logged.Lines("client disconnected")) == 1 })
		assert.Len(t, logged.Lines("level=DEBUG"), 1)
		assert.Len(t, logged.Lines(""), 1)
	})
}

// TestLargeListsAtOnce: what is in memory of a list stays there for as long as its
// client likes. So many at once are refused, and those that ask for little are not.
func TestLargeListsAtOnce(t *testing.T) {
	hold := make(chan struct{})
	url, _ := serveList(t, func(ctx context.Context, after int32, limit int) ([]number, bool, error) {
		if after >= 10*web.MaxLimit { // some of it is written
			<-hold
		}
		return numbers(20*web.MaxLimit)(ctx, after, limit)
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range web.MaxLargeLists {
		response, err := client.Do(testkit.NewRequest(t, "GET", url, nil))
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	r := testkit.Send(t, "GET", url, "")
	testkit.RequireProblem(t, r, http.StatusServiceUnavailable)
	assert.NotEmpty(t, r.Header.Get("Retry-After"))
	small := testkit.Send(t, "GET", url+"?limit=1000", "")
	assert.Equal(t, http.StatusOK, small.Status)
	assert.NotEmpty(t, small.Header.Get("Link"))

	close(hold)
	testkit.Eventually(t, "a place for another", func() bool { return testkit.Send(t, "GET", url, "").Status == http.StatusOK })
}

// TestListTakesTime: the server's timeouts are for a request and a response as a
// whole. A list that is still arriving is not cut off by them.
func TestListTakesTime(t *testing.T) {
	const serverTimeout = 100 * time.Millisecond
	handler, _ := listHandler(web.InSlots(web.NewSlots(1), func(ctx context.Context, after int32, limit int) ([]number, bool, error) {
		<-time.After(serverTimeout / 2)
		if err := ctx.Err(); err != nil {
			return nil, false, err // as a store does
		}
		return numbers(20*web.MaxLimit)(ctx, after, limit)
	}))
	server := httptest.NewUnstartedServer(handler)
	server.Config.ReadHeaderTimeout = testkit.Patience
	server.Config.ReadTimeout, server.Config.WriteTimeout = serverTimeout, serverTimeout
	server.Start()
	defer server.Close()
	r := testkit.Send(t, "GET", server.URL+"/list", "")
	assert.True(t, strings.HasSuffix(r.Body, fmt.Sprintf(",%d]\n", 20*web.MaxLimit)))
}
