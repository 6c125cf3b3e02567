package platformservice

import (
	"context"
	"encoding/json"
	"fmt"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/outbox"
)

// publishedType is the type of the event that reports a new platform.
const publishedType = "Platform_Published"

// platformPublished is that event. Its names are in PascalCase, as those of the
// .NET services, whose subscriber matches the case.
type platformPublished struct {
	ID    int32  `json:"Id"`
	Name  string `json:"Name"`
	Event string `json:"Event"`
}

// newEvent returns the event that p was created. ctx is the request's, whose trace
// the event continues.
func newEvent(ctx context.Context, p platform) (bus.Message, error) {
	body, err := json.Marshal(platformPublished{ID: p.ID, Name: p.Name, Event: publishedType})
	if err != nil {
		return bus.Message{}, fmt.Errorf("encode event: %w", err)
	}
	return outbox.NewMessage(ctx, publishedType, body), nil
}
