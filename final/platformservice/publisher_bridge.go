package platformservice

import (
	"context"

	"microcomm/final/internal/bus"
)

// oneByOne is a bus.Publisher that uses a Publisher, until that is one itself.
type oneByOne struct{ Publisher }

// Publish implements bus.Publisher.
func (p oneByOne) Publish(ctx context.Context, messages []bus.Message) (confirmed int, err error) {
	for i, message := range messages {
		if err := p.Publisher.Publish(ctx, message.Body); err != nil {
			return i, err
		}
	}
	return len(messages), nil
}
