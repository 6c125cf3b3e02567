package platformservice

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSeed(t *testing.T) {
	store := memoryStore(t)
	require.NoError(t, seed(t.Context(), store))
	require.NoError(t, seed(t.Context(), store), "again, as after a restart")
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []platform{
		{ID: 1, Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"},
		{ID: 2, Name: "SQL Server Express", Publisher: "Microsoft", Cost: "Free"},
		{ID: 3, Name: "Kubernetes", Publisher: "Cloud Native Computing Foundation", Cost: "Free"},
	}, platforms)
}
