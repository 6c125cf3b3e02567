package commandsservice

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An event as the .NET PlatformService publishes it.
const recordedEvent = `{"Id":4,"Name":"x","Event":"Platform_Published"}`

func TestEventProcessor(t *testing.T) {
	t.Run("stores the platform of an event that the .NET service sent", func(t *testing.T) {
		store, logged := process(t, recordedEvent)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "x"}}, platforms)
		assert.Len(t, logged.lines("new=true"), 1)
	})

	t.Run("leaves a known platform alone", func(t *testing.T) {
		store, logged := process(t, recordedEvent, `{"Id":4,"Name":"another","Event":"Platform_Published"}`)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "x"}}, platforms)
		assert.Len(t, logged.lines("new=false"), 1)
	})

	for _, body := range []string{
		`{"Id":4,"Name":"x","Event":"Platform_Deleted"}`,
		`{"Id":4,"Name":"x","Event":"platform_published"}`,
		`{"Event":"Command_Created","Id":"not ours to judge","Name":5}`,
	} {
		t.Run("ignores the event of another type "+body, func(t *testing.T) {
			store, logged := process(t, body)
			requirePlatforms(t, store, 0)
			assert.Len(t, logged.lines("event ignored"), 1)
		})
	}

	for what, body := range map[string]string{
		"nothing":              "",
		"no JSON":              "hello",
		"a cut off event":      recordedEvent[:20],
		"trailing data":        recordedEvent + "x",
		"two events":           recordedEvent + recordedEvent,
		"an array":             "[" + recordedEvent + "]",
		"null":                 "null",
		"a text":               `"Platform_Published"`,
		"no type":              `{"Id":4,"Name":"x"}`,
		"a type of no text":    `{"Id":4,"Name":"x","Event":1}`,
		"no id":                event(`"Name":"x"`),
		"no name":              event(`"Id":4`),
		"a null name":          event(`"Id":4,"Name":null`),
		"an empty name":        event(`"Id":4,"Name":""`),
		"a blank name":         event(`"Id":4,"Name":" \t\n"`),
		"a number as a name":   event(`"Id":4,"Name":5`),
		"the id null":          event(`"Id":null,"Name":"x"`),
		"the id 0":             event(`"Id":0,"Name":"x"`),
		"the id -1":            event(`"Id":-1,"Name":"x"`),
		`the id "4"`:           event(`"Id":"4","Name":"x"`),
		"the id 1.5":           event(`"Id":1.5,"Name":"x"`),
		"the id 2147483648":    event(`"Id":2147483648,"Name":"x"`),
		"bytes of no text":     event(`"Id":4,"Name":"` + "\xff" + `"`),
		"a name too long":      event(`"Id":4,"Name":"` + strings.Repeat("x", 501) + `"`),
		"a very long number":   event(`"Id":1` + strings.Repeat("0", 60_000) + `,"Name":"x"`),
		"more than 64 KiB":     eventOfSize(maxEvent + 1),
		"a very long bad body": fmt.Sprintf(`{"Id":"%0100000d","Name":"x","Event":"Platform_Published"}`, 4),
	} {
		t.Run("drops "+what+", logs that, and handles the next", func(t *testing.T) {
			store, logged := process(t, body, `{"Id":5,"Name":"next","Event":"Platform_Published"}`)
			platforms, err := store.platforms(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []platform{{ExternalID: 5, Name: "next"}}, platforms)
			dropped := logged.lines("event dropped")
			require.Len(t, dropped, 1)
			assert.Less(t, len(dropped[0]), 500, "the log does not quote the whole body")
		})
	}

	t.Run("ignores another event with a short line in the log", func(t *testing.T) {
		_, logged := process(t, `{"Event":"`+strings.Repeat("x", 60_000)+`"}`)
		require.Len(t, logged.lines("event ignored"), 1)
		assert.Less(t, len(logged.lines("event ignored")[0]), 500)
	})

	t.Run("stores an event of 64 KiB", func(t *testing.T) {
		store, _ := process(t, eventOfSize(maxEvent))
		requirePlatforms(t, store, 1)
	})

	t.Run("logs the event that is lost when the store fails", func(t *testing.T) {
		store := memoryStore(t)
		log, logged := captureLog()
		require.NoError(t, store.close())
		losses := 0
		processor := &eventProcessor{store: store, onLoss: func() { losses++ }, log: log}
		processor.process(t.Context(), []byte(recordedEvent))
		assert.Equal(t, 1, losses, "so that the backfill fetches it")
		lost := logged.lines("event lost")
		require.Len(t, lost, 1)
		for _, part := range []string{"level=ERROR", "id=4", "name=x", "closed"} {
			assert.Contains(t, lost[0], part)
		}
	})

	t.Run("keeps a name as it was sent", func(t *testing.T) {
		store, _ := process(t, event(`"Id":4,"Name":"\u0000<b>\"\ud83d\ude80"`))
		platform, err := store.platform(t.Context(), 4)
		require.NoError(t, err)
		assert.Equal(t, "\x00<b>\"🚀", platform.Name)
	})
}

// event returns a Platform_Published event with these fields.
func event(fields string) string { return `{` + fields + `,"Event":"Platform_Published"}` }

// eventOfSize returns a valid event of so many bytes.
func eventOfSize(size int) string {
	const fields = `"Id":4,"Name":"x","Other":"%s"`
	return event(fmt.Sprintf(fields, strings.Repeat("x", size-len(event(fields))+len("%s"))))
}

// process handles events one after the other, with an empty store.
func process(t *testing.T, bodies ...string) (commandStore, *logCapture) {
	t.Helper()
	store := memoryStore(t)
	log, logged := captureLog()
	processor := &eventProcessor{store: store, log: log}
	for _, body := range bodies {
		processor.process(t.Context(), []byte(body))
	}
	return store, logged
}
