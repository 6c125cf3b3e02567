package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type command struct {
	ID          int32  `json:"id"`
	HowTo       string `json:"howTo"`
	CommandLine string `json:"commandLine"`
	PlatformID  int32  `json:"platformId"`
}

// callCommandsService makes PlatformService post new platforms to CommandsService
// too, as in chapter 02, and wait for it as long as for a request.
func (s *system) callCommandsService() {
	s.platforms.env = append(s.platforms.env, "COMMANDS_SERVICE_URL="+s.commands.url+"/api/c/platforms", "COMMANDS_SERVICE_TIMEOUT=1m")
}

// knows reports whether CommandsService has the platform.
func (s *system) knows(id int32) bool {
	status, _, err := s.commands.send(http.MethodGet, fmt.Sprintf("/api/c/platforms/%d/commands", id), "")
	return err == nil && status == http.StatusOK
}

func TestNewPlatformReachesCommandsService(t *testing.T) {
	if os.Getenv("PLATFORMS_URL") == "" {
		requireBroker(t)
	}
	s := running(t)
	first, second := createPlatform(t, s, "Docker"), createPlatform(t, s, "Go")
	eventually(t, "CommandsService knows both", func() bool { return s.knows(first.ID) && s.knows(second.ID) })

	commands := fmt.Sprintf("/api/c/platforms/%d/commands", first.ID)
	var created command
	s.commands.call(t, http.MethodPost, commands,
		`{"howTo": "Build an image", "commandLine": "docker build ."}`, http.StatusCreated, &created)
	require.Equal(t, command{ID: created.ID, HowTo: "Build an image", CommandLine: "docker build .", PlatformID: first.ID}, created)

	t.Run("a created command is read back", func(t *testing.T) {
		var got command
		s.commands.call(t, http.MethodGet, fmt.Sprintf("%s/%d", commands, created.ID), "", http.StatusOK, &got)
		require.Equal(t, created, got)
	})
	t.Run("a created command is in the platform's list", func(t *testing.T) {
		var list []command
		s.commands.call(t, http.MethodGet, commands, "", http.StatusOK, &list)
		require.Equal(t, []command{created}, list)
	})
	t.Run("another platform does not have it", func(t *testing.T) {
		other := fmt.Sprintf("/api/c/platforms/%d/commands/%d", second.ID, created.ID)
		s.commands.call(t, http.MethodGet, other, "", http.StatusNotFound, nil)
	})
	t.Run("an unknown platform accepts no commands", func(t *testing.T) {
		s.commands.call(t, http.MethodPost, "/api/c/platforms/2147483647/commands",
			`{"howTo": "x", "commandLine": "y"}`, http.StatusNotFound, nil)
	})
}

func TestPlatformIsCreatedWhileCommandsServiceIsDown(t *testing.T) {
	s := local(t)
	s.callCommandsService()
	s.platforms.start(t)
	createPlatform(t, s, "Docker")
	eventually(t, "the log says so", func() bool {
		return strings.Contains(s.platforms.logs.String(), "CommandsService not notified")
	})
}

func TestCommandsServiceStopsWhenAsked(t *testing.T) {
	s := local(t)
	s.commands.start(t)
	require.NoError(t, s.commands.stop(t))
	require.False(t, strings.Contains(s.commands.logs.String(), "level=ERROR"), "it stopped without an error")
}
