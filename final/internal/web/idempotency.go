package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// IdempotencyHeader names a request, so that one which is sent again, because
// its response was lost, is not carried out again. See
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/.
const (
	IdempotencyHeader    = "Idempotency-Key"
	ReplayedHeader       = "Idempotency-Replayed" // in the response to a request that was not the first
	IdempotencyRetention = 24 * time.Hour
	maxIdempotencyKey    = 255
)

// ErrKeyReused is returned for a key that was used with another request before.
var ErrKeyReused = errors.New("the Idempotency-Key was used for another request")

// IdempotencyKey returns the key of r, "" when it has none, or FieldErrors. What
// it returns differs for each authenticated subject: one client cannot see another's
// response by its key.
func IdempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values(IdempotencyHeader)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKey || !isPrintableASCII(key) {
		return "", FieldErrors{IdempotencyHeader: {"must be given once, as 1 to 255 printable ASCII characters"}}
	}
	if subject := Subject(r.Context()); subject != "" {
		key = "subject:" + base64.RawStdEncoding.EncodeToString(Fingerprint(subject, key))
	}
	return key, nil
}

func isPrintableASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// KeyPending returns the 409 for a key whose first request is being handled, and
// says when to retry.
func KeyPending(w http.ResponseWriter) *Problem {
	w.Header().Set("Retry-After", "1")
	return NewProblem(http.StatusConflict, "the first request with this "+IdempotencyHeader+" is still being handled; retry later")
}

// Fingerprint tells requests with other fields apart. The layout of the JSON
// that held them makes no difference.
func Fingerprint(fields ...string) []byte {
	text, _ := json.Marshal(fields) // texts never fail
	sum := sha256.Sum256(text)
	return sum[:]
}

// PendingKeys are the keys of the requests that this process is handling. The
// zero value is ready to use.
type PendingKeys struct {
	mu   sync.Mutex
	keys map[string]bool
}

// Begin reports whether no request with this key is being handled. Then this
// one is, until End is called.
func (k *PendingKeys) Begin(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys[key] {
		return false
	}
	if k.keys == nil {
		k.keys = map[string]bool{}
	}
	k.keys[key] = true
	return true
}

// End lets key be used again.
func (k *PendingKeys) End(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, key)
}

// CheckFingerprint returns ErrKeyReused when known, which is stored with a key,
// is not the fingerprint of this request.
func CheckFingerprint(known, own []byte) error {
	if !bytes.Equal(known, own) {
		return ErrKeyReused
	}
	return nil
}
