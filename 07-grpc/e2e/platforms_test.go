package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

type platform struct {
	ID        int32  `json:"id"`
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

// createPlatform creates a platform and returns the response.
func createPlatform(t *testing.T, s *system, name string) platform {
	t.Helper()
	var created platform
	body := fmt.Sprintf(`{"name": %q, "publisher": "e2e", "cost": "Free"}`, name)
	s.platforms.call(t, http.MethodPost, "/api/platforms/", body, http.StatusCreated, &created)
	return created
}

func TestPlatforms(t *testing.T) {
	s := running(t)

	created := createPlatform(t, s, "Docker")
	require.Equal(t, platform{ID: created.ID, Name: "Docker", Publisher: "e2e", Cost: "Free"}, created)
	require.Positive(t, created.ID)

	t.Run("a created platform is read back", func(t *testing.T) {
		var got platform
		s.platforms.call(t, http.MethodGet, fmt.Sprintf("/api/platforms/%d", created.ID), "", http.StatusOK, &got)
		require.Equal(t, created, got)
	})
	t.Run("a created platform is in the list", func(t *testing.T) {
		var list []platform
		s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
		require.Contains(t, list, created)
	})
	t.Run("an unknown platform is not found", func(t *testing.T) {
		s.platforms.call(t, http.MethodGet, "/api/platforms/2147483647", "", http.StatusNotFound, nil)
	})
	t.Run("bad input names the field", func(t *testing.T) {
		var problem struct {
			Errors map[string][]string `json:"errors"`
		}
		s.platforms.call(t, http.MethodPost, "/api/platforms", `{"name": "x", "cost": "Free"}`, http.StatusBadRequest, &problem)
		require.Contains(t, problem.Errors, "publisher")
	})
}

func TestEmptyDatabaseIsSeeded(t *testing.T) {
	s := local(t)
	s.platforms.start(t)
	var list []platform
	s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"Dot Net", "SQL Server Express", "Kubernetes"}, names)
}

func TestDatabaseFileOutlivesTheProcess(t *testing.T) {
	s := local(t, "DATABASE_URL=sqlite:"+filepath.Join(t.TempDir(), "platforms.db"))
	s.platforms.start(t)
	created := createPlatform(t, s, "Docker")
	s.platforms.kill()

	s.platforms.start(t)
	var list []platform
	s.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &list)
	require.Contains(t, list, created)
	require.Len(t, list, 4, "three seeded and one created: not seeded again")
}

func TestStopsWhenAsked(t *testing.T) {
	s := running(t)
	if s.platforms.process == nil {
		t.Skip("stops services: not done to those at PLATFORMS_URL")
	}
	require.NoError(t, s.platforms.stop(t))
}
