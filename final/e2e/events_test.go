package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireBroker skips the test without a broker.
func requireBroker(t *testing.T) {
	t.Helper()
	if os.Getenv("RABBITMQ_URL") == "" && os.Getenv("PLATFORMS_URL") == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
}

// busOnly returns a system that is not started, and has a broker.
func busOnly(t *testing.T) *system {
	t.Helper()
	requireBroker(t)
	return local(t)
}

// connected waits until the service is connected to the broker, after having
// been so times before.
func (s *service) connected(t *testing.T, times int) {
	t.Helper()
	eventually(t, s.name+" is connected", func() bool {
		return strings.Count(s.logs.String(), `connected" exchange=`) > times
	})
}

// keepPosting posts platforms, one after the other, until stop is called, which
// returns the ids of those that got a 201. A PlatformService
// that does not respond is retried.
func (s *system) keepPosting(t *testing.T) (stop func() []int32) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var ids []int32
	var posting sync.WaitGroup
	posting.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			status, text, err := s.platforms.send(http.MethodPost, "/api/platforms",
				fmt.Sprintf(`{"name": "Platform %d", "publisher": "e2e", "cost": "Free"}`, n))
			if err != nil || status == http.StatusServiceUnavailable {
				continue // killed by the test, or starting again
			}
			var id int32
			if assert.Equal(t, http.StatusCreated, status, string(text)) {
				_, err := fmt.Sscanf(string(text), `{"id":%d,`, &id)
				assert.NoError(t, err)
				ids = append(ids, id)
			}
		}
	})
	return func() []int32 {
		cancel()
		posting.Wait()
		return ids
	}
}

func TestEventReachesCommandsService(t *testing.T) {
	s := busOnly(t)
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)

	created := createPlatform(t, s, "Docker")
	eventually(t, "the event has arrived", func() bool { return s.knows(created.ID) })
	eventually(t, "the log says so", func() bool {
		return strings.Contains(s.commands.logs.String(), "received by event")
	})
}

func TestKilledCommandsServiceHarmsNobodyElse(t *testing.T) {
	s := busOnly(t)
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)

	stop := s.keepPosting(t)
	s.commands.kill()
	s.commands.start(t)
	s.commands.connected(t, 1)
	require.NotEmpty(t, stop(), "PlatformService responded meanwhile")

	created := createPlatform(t, s, "After the crash")
	eventually(t, "events arrive again", func() bool { return s.knows(created.ID) })
}

func TestKilledPlatformServiceComesBack(t *testing.T) {
	dir, s := t.TempDir(), busOnly(t)
	s.platforms.env = append(s.platforms.env, "DATABASE_URL=sqlite:"+dir+"/platforms.db")
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)

	stop := s.keepPosting(t)
	s.platforms.kill()
	s.platforms.start(t)
	s.platforms.connected(t, 1)
	ids := stop()

	var list []platform
	s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
	stored := map[int32]bool{}
	for _, p := range list {
		stored[p.ID] = true
	}
	for _, id := range ids {
		require.True(t, stored[id], "platform %d got a 201 and is lost", id)
	}
	created := createPlatform(t, s, "After the crash")
	eventually(t, "events arrive again", func() bool { return s.knows(created.ID) })
}
