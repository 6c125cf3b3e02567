package commandsservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxLimit is the most items that a client can ask for at a time.
	maxLimit = 1000
	// chunkLength is how many items of a whole list are in memory at a time.
	chunkLength = 250
	// chunkTimeout bounds the writing of one chunk. A client that reads, however
	// long the list is, is never cut off.
	chunkTimeout = 2 * requestTimeout
)

// errCutOff is returned for a response that failed after it had begun. It is
// too late for another status: the router breaks the connection, so that the
// client does not take a part of a list for the whole.
var errCutOff = errors.New("response cut off")

// listItem is an item of a list. A list is in the order of its items' ids.
type listItem interface {
	id() int32
}

// readItems returns the first items, at most limit, of those with greater ids
// than after. It does not return nil, which JSON shows as null.
type readItems[T listItem] func(ctx context.Context, after int32, limit int) ([]T, error)

// writeList writes the part of a list that the request asks for: with
// ?limit=…&after=… a page, else everything.
func writeList[T listItem](w http.ResponseWriter, r *http.Request, read readItems[T]) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, "the query cannot be read")
	}
	limit, after, err := pageOf(query)
	if err != nil {
		return err
	}
	if limit == 0 {
		return streamList(w, r, read)
	}
	items, more, err := readPage(r.Context(), read, after, limit)
	if err != nil {
		return err
	}
	if more {
		w.Header().Set("Link", fmt.Sprintf(`<%s?limit=%d&after=%d>; rel="next"`,
			r.URL.EscapedPath(), limit, items[limit-1].id()))
	}
	return writeJSON(w, http.StatusOK, items)
}

// pageOf returns the page that query asks for. The limit is 0 when there is
// none. The error is fieldErrors.
func pageOf(query url.Values) (limit int, after int32, err error) {
	errs := fieldErrors{}
	integer := func(name string, lowest, highest int) int {
		values, given := query[name]
		if !given {
			return 0
		}
		value, err := strconv.Atoi(values[0])
		if err != nil || value < lowest || value > highest || len(values) > 1 {
			errs.add(name, fmt.Sprintf("must be one integer from %d to %d", lowest, highest))
		}
		return value
	}
	limit = integer("limit", 1, maxLimit)
	after = int32(integer("after", 0, math.MaxInt32))
	if query.Has("after") && !query.Has("limit") {
		errs.add("after", "needs a limit")
	}
	return limit, after, errs.orNil()
}

// readPage returns the items after an id, at most limit, and whether there are more.
func readPage[T listItem](ctx context.Context, read readItems[T], after int32, limit int) (items []T, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	items, err = read(ctx, after, limit+1)
	if len(items) > limit {
		return items[:limit], true, err
	}
	return items, false, err
}

// streamList writes a whole list, chunk by chunk: it is never in memory as a
// whole, and a slow client holds no connection to the database.
func streamList[T listItem](w http.ResponseWriter, r *http.Request, read readItems[T]) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	connection := http.NewResponseController(w)
	begun, after := false, int32(0)
	for {
		items, more, err := readPage(r.Context(), read, after, chunkLength)
		switch {
		case err != nil && begun:
			return fmt.Errorf("%w: %v", errCutOff, err)
		case err != nil:
			return err
		case !begun:
			w.Header().Set("Content-Type", "application/json")
		}
		if r.Method == http.MethodHead {
			return nil
		}
		text.Reset()
		_ = encoder.Encode(items) // a buffer does not fail
		chunk := text.Bytes()     // an array: [a,b]\n
		if begun {
			chunk[0] = ',' // which continues the one before
		}
		if more {
			chunk = bytes.TrimSuffix(chunk, []byte("]\n"))
		}
		// It fails for a ResponseWriter that has no deadline to extend.
		_ = connection.SetWriteDeadline(time.Now().Add(chunkTimeout))
		if _, err := w.Write(chunk); err != nil {
			return fmt.Errorf("%w: %v", errCutOff, err)
		}
		if !more {
			return nil
		}
		begun, after = true, items[len(items)-1].id()
	}
}
