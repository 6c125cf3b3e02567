package platformservice

import (
	"context"
	"errors"
)

// errOverloaded is returned when the service handles as many requests as it may.
var errOverloaded = errors.New("too many requests at once")

// slots bounds how many requests use the database at once: its capacity is the
// limit. A request has a slot only for that. It has none while its body arrives
// or its response is read, because both take as long as the client likes.
type slots chan struct{}

func newSlots(limit int) slots { return make(slots, limit) }

// do calls work when there is a free slot, and otherwise returns errOverloaded.
// Requests that are accepted are fast that way: the rest would only wait with
// them, for the same database.
//
// The context of work lasts for requestTimeout, and does not end when the client
// disconnects: a platform could be stored and the work after that left undone.
// Also, a client that has closed only its own side of the connection looks the
// same, and still reads the response.
func (s slots) do(ctx context.Context, work func(context.Context) error) error {
	return s.run(ctx, false, work)
}

// inSlots returns read with a slot for each call. Only the first call returns
// errOverloaded at once. The others wait for a slot: a list that has begun can
// no longer be refused.
func inSlots[T listItem](s slots, read readItems[T]) readItems[T] {
	begun := false
	return func(ctx context.Context, after int32, limit int) (items []T, more bool, err error) {
		err = s.run(ctx, begun, func(ctx context.Context) error {
			begun = true
			items, more, err = read(ctx, after, limit)
			return err
		})
		return items, more, err
	}
}

func (s slots) run(ctx context.Context, wait bool, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	select {
	case s <- struct{}{}:
	default:
		if !wait {
			return errOverloaded
		}
		select {
		case s <- struct{}{}:
		case <-ctx.Done():
			return errOverloaded
		}
	}
	defer func() { <-s }()
	return work(ctx)
}
