package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandsServiceBackfillsWhatItMissed(t *testing.T) {
	s := busOnly(t)
	s.commands.start(t)
	s.platforms.start(t)
	s.platforms.connected(t, 0)

	stop := s.keepPosting(t)
	s.commands.kill()
	eventually(t, "platforms are created without CommandsService", func() bool {
		var list []platform
		s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
		return len(list) > 20
	})
	s.commands.start(t)
	ids := stop()
	for _, id := range ids {
		eventually(t, "CommandsService has caught up", func() bool { return s.knows(id) })
	}
}

func TestCommandsServiceStartsBeforePlatformService(t *testing.T) {
	s := local(t, "RABBITMQ_URL=amqp://"+freeAddrs(t, 1)[0]) // no broker there
	s.commands.start(t)
	s.commands.call(t, http.MethodGet, "/api/c/platforms", "", http.StatusOK, nil)

	s.platforms.start(t)
	var list []platform
	s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
	require.NotEmpty(t, list)
	for _, p := range list {
		eventually(t, "the seeded platforms are backfilled", func() bool { return s.knows(p.ID) })
	}
}
