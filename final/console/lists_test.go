package console

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// listService has both lists, and pages as the services have.
type listService struct {
	mu     sync.Mutex
	stored map[string]map[int32]string // by path
	pages  bool
	down   bool
}

func newListService() *listService {
	return &listService{pages: true, stored: map[string]map[int32]string{"/api/platforms": {}, "/api/c/platforms": {}}}
}

// set stores platforms at a path, named by their ids, and no others.
func (s *listService) set(path string, ids ...int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[path] = map[int32]string{}
	for _, id := range ids {
		s.stored[path][id] = strconv.Itoa(int(id))
	}
}

func (s *listService) rename(path string, id int32, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[path][id] = name
}

func (s *listService) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// ServeHTTP implements http.Handler.
func (s *listService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		panic(http.ErrAbortHandler)
	}
	names, ok := s.stored[r.URL.Path]
	if !ok {
		_, _ = w.Write([]byte(`{"status":"ready"}`))
		return
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	items := []item{}
	for _, id := range slices.Sorted(maps.Keys(names)) {
		if !s.pages || int(id) > after && len(items) < limit {
			items = append(items, item{id, names[id]})
		}
	}
	_ = json.NewEncoder(w).Encode(items)
}

// startLists watches the lists of a service as stage has them.
func startLists(t *testing.T, s *listService, stage string) *reader {
	t.Helper()
	service := testkit.Serve(t, s)
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "PLATFORMS_URL": service, "COMMANDS_URL": service, "CONSOLE_STAGE": stage}, Parts{})
	return read(t, url, "")
}

// total waits until a list has this many platforms, and returns the lines until then.
func (r *reader) total(list string, total int) []received {
	r.t.Helper()
	return r.until(list+" has "+strconv.Itoa(total), func(l received) bool { return l.Subject == "list/"+list && l.Content.Total == total })
}

func upTo(n int32) (ids []int32) {
	for id := range n {
		ids = append(ids, id+1)
	}
	return ids
}

func TestALongListIsReadInPages(t *testing.T) {
	s := newListService()
	s.set("/api/platforms", upTo(12_000)...)
	names := map[string]bool{}
	for _, l := range startLists(t, s, "final").total("platforms", 12_000) {
		assert.LessOrEqual(t, len(l.Content.Added), listLimit)
		for _, added := range l.Content.Added {
			names[added.Name] = true
		}
	}
	assert.Equal(t, 12_000, len(names))
}

// CommandsService may store platform 2 long after platform 3.
func TestWhatIsStoredLateIsSeen(t *testing.T) {
	s := newListService()
	s.set("/api/platforms", 1, 2, 3)
	s.set("/api/c/platforms", 1, 3)
	feed := startLists(t, s, "final")
	feed.total("commands", 2)
	s.set("/api/c/platforms", 1, 2, 3)
	lines := feed.total("commands", 3)
	assert.Equal(t, []item{{2, "2"}}, lines[len(lines)-1].Content.Added)
}

func TestAServiceThatForgotIsReadAgain(t *testing.T) {
	for _, stage := range []string{"final", "02"} {
		t.Run(stage, func(t *testing.T) {
			s := newListService()
			s.pages = stage == "final"
			s.set("/api/c/platforms", 1, 2, 3)
			feed := startLists(t, s, stage)
			feed.total("commands", 3)
			s.setDown(true)
			feed.part("commandsservice", down)
			s.set("/api/c/platforms", 2, 4)
			s.rename("/api/c/platforms", 2, "another")
			s.setDown(false)
			removed, added := []int{}, []item{}
			for _, l := range feed.total("commands", 2) { // it may have asked for what is new before it noticed
				if l.Subject == "list/commands" {
					removed, added = append(removed, l.Content.Removed...), append(added, l.Content.Added...)
				}
			}
			assert.Equal(t, []int{1, 3}, removed)
			assert.ElementsMatch(t, []item{{2, "another"}, {4, "4"}}, added)
		})
	}
}

// Chapter 02 has no spans: the lists tell when a platform was accepted, and stored.
func TestWithoutSpansTheListsTell(t *testing.T) {
	s := newListService()
	s.pages = false
	s.set("/api/platforms", 1)
	s.set("/api/c/platforms", 1)
	feed := startLists(t, s, "02")
	known := map[string]bool{}
	feed.until("both lists", func(l received) bool {
		known[l.Subject] = l.Content.Total == 1
		return known["list/platforms"] && known["list/commands"]
	})
	s.set("/api/platforms", 1, 2)
	feed.hop("accepted", "2")
	s.set("/api/c/platforms", 1, 2)
	lines := feed.hop("stored", "2")
	last := lines[len(lines)-1].Content
	assert.Equal(t, "list", last.From)
	for _, l := range lines {
		require.False(t, l.Kind == "hop" && strings.HasSuffix(l.Subject, "/1"), "it was there before")
	}
}

// The console asks once a second, and says once that its token is not accepted.
func TestTokenThatIsNotAcceptedIsLoggedOnce(t *testing.T) {
	url := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	log, logged := testkit.CaptureLog()
	s, err := build(Config{Stage: "final", PlatformsURL: url, CommandsURL: url}, Parts{}, log)
	require.NoError(t, err)
	l := s.newList(s.platforms[0], "list/platforms")
	for range 2 {
		s.readList(t.Context(), l)
	}
	warnings := logged.Lines("level=WARN msg=\"list not read\"")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "CONSOLE_TOKEN_FILE")
}
