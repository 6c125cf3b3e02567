package web

import (
	"context"
	"errors"
)

// ErrOverloaded is returned when the service handles as many requests as it may.
var ErrOverloaded = errors.New("too many requests at once")

// Slots bounds how many requests use the database at once: its capacity is the
// limit. A request has a slot only for that. It has none while its body arrives
// or its response is read, because both take as long as the client likes.
type Slots chan struct{}

// NewSlots returns slots for limit requests at once.
func NewSlots(limit int) Slots { return make(Slots, limit) }

// Do calls work when there is a free slot, and otherwise returns ErrOverloaded.
// Requests that are accepted are fast that way: the rest would only wait with
// them, for the same database.
//
// The context of work lasts for RequestTimeout, and does not end when the client
// disconnects: a platform could be stored and the work after that left undone.
// Also, a client that has closed only its own side of the connection looks the
// same, and still reads the response.
func (s Slots) Do(ctx context.Context, work func(context.Context) error) error {
	return s.run(ctx, false, work)
}

// InSlots returns read with a slot for each call. Only the first call returns
// ErrOverloaded at once. The others wait for a slot: a list that has begun can
// no longer be refused.
func InSlots[T listItem](s Slots, read ReadItems[T]) ReadItems[T] {
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

func (s Slots) run(ctx context.Context, wait bool, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RequestTimeout)
	defer cancel()
	select {
	case s <- struct{}{}:
	default:
		if !wait {
			return ErrOverloaded
		}
		select {
		case s <- struct{}{}:
		case <-ctx.Done():
			return ErrOverloaded
		}
	}
	defer func() { <-s }()
	return work(ctx)
}
