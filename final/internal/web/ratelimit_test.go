package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRateLimit(t *testing.T) {
	t.Run("allows the rate, and a burst of twice that", func(t *testing.T) {
		l := newRateLimit(3)
		now := time.Now()
		for range 6 {
			assert.Zero(t, l.take("a", now))
		}
		wait := l.take("a", now)
		assert.Equal(t, time.Second/3, wait)
		assert.Zero(t, l.take("b", now), "another client")
		assert.NotZero(t, l.take("a", now.Add(wait-1)), "what was refused doesn't count, but it is too early")
		assert.Zero(t, l.take("a", now.Add(wait)))
		assert.NotZero(t, l.take("a", now.Add(wait)))
		for range 6 {
			assert.Zero(t, l.take("a", now.Add(time.Hour)), "no more than a burst is saved up")
		}
		assert.NotZero(t, l.take("a", now.Add(time.Hour)))
	})

	t.Run("a client cannot reset its limit by appearing under other names", func(t *testing.T) {
		l := newRateLimit(1)
		now := time.Now()
		l.take("a", now)
		l.take("a", now)
		for i := range 3 * maxClients {
			l.take(fmt.Sprint(i), now)
		}
		assert.NotZero(t, l.take("a", now))
		assert.Len(t, l.clients, maxClients)
		assert.Equal(t, maxClients, l.order.Len())
		refused := 0
		for i := range 1000 {
			if l.take(fmt.Sprint("new ", i), now) > 0 {
				refused++
			}
		}
		assert.NotZero(t, refused, "what is not remembered has a limit, too")
	})

	t.Run("clients that are idle make room", func(t *testing.T) {
		l := newRateLimit(1)
		now := time.Now()
		for i := range maxClients {
			l.take(fmt.Sprint(i), now)
		}
		later := now.Add(burstSeconds * time.Second)
		for i := range 100 {
			assert.Zero(t, l.take(fmt.Sprint("new ", i), later))
			assert.Contains(t, l.clients, fmt.Sprint("new ", i))
		}
		assert.Len(t, l.clients, maxClients)
	})
}

func TestClientNetwork(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, row := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"1.2.3.4:5", nil, "1.2.3.4"},
		{"1.2.3.4:5", []string{"9.9.9.9"}, "1.2.3.4"}, // not a proxy that we trust
		{"10.0.0.1:5", nil, "10.0.0.1"},
		{"10.0.0.1:5", []string{"9.9.9.9"}, "9.9.9.9"},
		{"10.0.0.1:5", []string{"8.8.8.8, 9.9.9.9"}, "9.9.9.9"}, // 8.8.8.8 may be made up
		{"10.0.0.1:5", []string{"8.8.8.8", "9.9.9.9"}, "9.9.9.9"},
		{"10.0.0.1:5", []string{"8.8.8.8, 9.9.9.9, 10.0.0.2 ,10.0.0.3"}, "9.9.9.9"},
		{"10.0.0.1:5", []string{"10.0.0.2, 10.0.0.3"}, "10.0.0.2"}, // a client inside
		{"10.0.0.1:5", []string{"9.9.9.9, nonsense"}, "10.0.0.1"},
		{"10.0.0.1:5", []string{""}, "10.0.0.1"},
		{"10.0.0.1:5", []string{"9.9.9.9:1234"}, "9.9.9.9"},
		{"[::1]:5", []string{"[2001:db8::1]:1234"}, "2001:db8::/64"},
		{"[::1]:5", []string{"::ffff:9.9.9.9"}, "9.9.9.9"},
		{"[::ffff:10.0.0.1]:5", []string{"9.9.9.9"}, "9.9.9.9"},
		{"[2001:db8::1]:5", nil, "2001:db8::/64"},
		{"[2001:db8::ffff:1]:5", nil, "2001:db8::/64"}, // one client has them all
		{"[fe80::1%eth0]:5", nil, "fe80::/64"},
		{"@", nil, "invalid IP"}, // a Unix socket
	} {
		r := &http.Request{RemoteAddr: row.peer, Header: http.Header{"X-Forwarded-For": row.forwarded}}
		assert.Equal(t, row.want, clientNetwork(r, trusted), row)
	}
}
