package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// MaxLimit is the most items that a client can ask for at a time, and that are
	// in memory at a time.
	MaxLimit = 1000
	// MaxListText is how many bytes of text the items that are in memory at a time
	// have. A store ends a read with the item that reaches it.
	MaxListText = 128 << 10
	// writeLength is how many bytes of a list are written at a time. A list that has
	// more is a large one.
	writeLength = 32 << 10
	// MaxLargeLists is how many large lists are written at once: as long as their
	// clients read, what is in memory of them stays there.
	MaxLargeLists = 64
	// writeTimeout bounds one such write. A client that reads, however long the
	// list is, is never cut off.
	writeTimeout = 2 * RequestTimeout
)

// ErrCutOff is returned for a response that failed after it had begun. It is
// too late for another status: the connection is closed, so that the client does
// not mistake a part of a list for the whole.
var ErrCutOff = errors.New("response cut off")

// listItem is an item of a list. A list is in the order of its items' ids.
type listItem interface {
	ItemID() int32
}

// ReadItems returns the first items of those with greater ids than after, and
// whether there are more: at most limit, and fewer when they reach MaxListText.
type ReadItems[T listItem] func(ctx context.Context, after int32, limit int) (items []T, more bool, err error)

// WriteList writes the part of a list that the request asks for: with
// ?limit=…&after=… a page, else everything. The list is never in memory as a
// whole, and a slow client holds no connection to the database. It counts large
// lists in large.
func WriteList[T listItem](w http.ResponseWriter, r *http.Request, large *atomic.Int32, read ReadItems[T]) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return NewProblem(http.StatusBadRequest, "the query cannot be read")
	}
	limit, after, err := pageOf(query)
	if err != nil {
		return err
	}
	items, more, err := read(r.Context(), after, cmp.Or(limit, MaxLimit))
	if err != nil {
		return err
	}
	last := int32(math.MaxInt32) // the id that the response ends with
	if limit > 0 {
		end, next, err := pageEnd(r.Context(), read, items, more, limit)
		if err != nil {
			return err
		}
		if next {
			w.Header().Set("Link", fmt.Sprintf(`<%s?limit=%d&after=%d>; rel="next"`, r.URL.EscapedPath(), limit, end))
		}
		last, more = end, more && items[len(items)-1].ItemID() < end
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return nil
	}
	err = writeItems(w, r, large, read, items, more, last)
	if err != nil {
		w.Header().Del("Link") // if it is not sent yet, a problem is
	}
	return err
}

// pageOf returns the page that query asks for. The limit is 0 when there is
// none. The error is FieldErrors.
func pageOf(query url.Values) (limit int, after int32, err error) {
	errs := FieldErrors{}
	integer := func(name string, lowest, highest int) int {
		values, given := query[name]
		if !given {
			return 0
		}
		value, err := strconv.Atoi(values[0])
		if err != nil || value < lowest || value > highest || len(values) > 1 {
			errs.Add(name, fmt.Sprintf("must be one integer from %d to %d", lowest, highest))
		}
		return value
	}
	limit = integer("limit", 1, MaxLimit)
	after = int32(integer("after", 0, math.MaxInt32))
	if query.Has("after") && !query.Has("limit") {
		errs.Add("after", "needs a limit")
	}
	return limit, after, errs.OrNil()
}

// pageEnd returns the id of the last item of the page that begins with items, and
// whether the list continues after it. The Link is written before the items: so
// those of a page that is too large for the memory are read twice.
func pageEnd[T listItem](ctx context.Context, read ReadItems[T], items []T, more bool, limit int) (end int32, next bool, err error) {
	for len(items) > 0 {
		end = items[len(items)-1].ItemID()
		if limit -= len(items); limit == 0 || !more {
			break
		}
		if items, more, err = read(ctx, end, limit); err != nil {
			return 0, false, err
		}
	}
	return end, more, nil
}

// writeItems writes items and, when there are more, reads and writes those up to
// the id last. It encodes them one by one. When it returns ErrOverloaded, or an
// error of read, nothing is written.
func writeItems[T listItem](w http.ResponseWriter, r *http.Request, large *atomic.Int32, read ReadItems[T], items []T, more bool, last int32) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	connection := http.NewResponseController(w)
	begun := false
	write := func() error {
		if begun { // otherwise it is short, and the server's WriteTimeout is enough
			// It fails for a ResponseWriter that has no deadline to extend.
			_ = connection.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		if _, err := w.Write(text.Bytes()); err != nil {
			return fmt.Errorf("%w: %w", ErrDisconnected, err)
		}
		text.Reset()
		return nil
	}
	after := int32(0)
	separator := byte('[')
	for {
		for i := range items {
			if after = items[i].ItemID(); after > last {
				break
			}
			text.WriteByte(separator)
			separator = ','
			_ = encoder.Encode(&items[i]) // a buffer does not fail
			text.Truncate(text.Len() - 1) // the newline
			if text.Len() < writeLength {
				continue
			}
			if !begun {
				begun = true
				defer large.Add(-1)
				if large.Add(1) > MaxLargeLists {
					return ErrOverloaded
				}
			}
			if err := write(); err != nil {
				return err
			}
		}
		if !more || after >= last {
			break
		}
		var err error
		items, more, err = read(r.Context(), after, MaxLimit)
		if err != nil && begun {
			return fmt.Errorf("%w: %v", ErrCutOff, err)
		}
		if err != nil {
			return err
		}
	}
	if separator == '[' {
		text.WriteByte('[')
	}
	text.WriteString("]\n")
	return write()
}
