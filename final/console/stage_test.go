package console

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplicasBehindOneNameAreSaidNotToBeSeen(t *testing.T) {
	for url, want := range map[string]bool{
		"http://platforms":                      true,
		"http://platforms-1,http://platforms-2": false,
		"http://localhost:5000":                 false,
		"http://127.0.0.1:5000":                 false,
	} {
		s, err := build(Config{Stage: "final", PlatformsURL: url, CommandsURL: "http://localhost:6000"}, Parts{}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		said := slices.ContainsFunc(s.describe().CannotSee, func(c cannotSee) bool { return c.What == "each replica of a service" })
		assert.Equal(t, want, said, url)
	}
}
