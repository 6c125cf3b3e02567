package web

import (
	"container/list"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxClients is how many clients a rate limit remembers.
	maxClients = 10_000
	// sharedBuckets is how many buckets all others have together.
	sharedBuckets = 64
	// burstSeconds is for how many seconds a client may save up.
	burstSeconds = 2
)

// rateLimit bounds how many requests each client sends. A client has a bucket,
// which fills at the rate and from which each request takes one. All that is kept
// of a bucket is when it will be full again. One that is full is as good as new, so
// it can be forgotten. No other bucket ever is: a client cannot get a new one by
// appearing under many names in between.
type rateLimit struct {
	interval time.Duration // between two requests at the rate

	mu      sync.Mutex
	clients map[string]*list.Element // of *bucket
	order   list.List                // the one that was used last comes first
	shared  [sharedBuckets]bucket
	seed    maphash.Seed
	burst   time.Duration // what a full bucket allows
}

type bucket struct {
	client string
	full   time.Time // when it is full
}

// newRateLimit returns a limit of perSecond requests, with a burst of twice that.
func newRateLimit(perSecond int) *rateLimit {
	interval := time.Second / time.Duration(perSecond)
	return &rateLimit{
		interval: interval, burst: burstSeconds * time.Duration(perSecond) * interval,
		clients: map[string]*list.Element{}, seed: maphash.MakeSeed(),
	}
}

// take returns 0 when client may send a request now, which then counts, and
// otherwise when it may.
func (l *rateLimit) take(client string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(client, now)
	full := now
	if b.full.After(now) {
		full = b.full
	}
	full = full.Add(l.interval)
	if wait := full.Sub(now) - l.burst; wait > 0 {
		return wait
	}
	b.full = full
	return 0
}

// bucket returns that of client. When as many as may be are remembered and each of
// them is in use, clients that are new share some.
func (l *rateLimit) bucket(client string, now time.Time) *bucket {
	if known, ok := l.clients[client]; ok {
		l.order.MoveToFront(known)
		return known.Value.(*bucket)
	}
	if len(l.clients) >= maxClients {
		oldest := l.order.Back()
		if oldest.Value.(*bucket).full.After(now) {
			return &l.shared[maphash.String(l.seed, client)%sharedBuckets]
		}
		delete(l.clients, l.order.Remove(oldest).(*bucket).client)
	}
	b := &bucket{client: client, full: now}
	l.clients[client] = l.order.PushFront(b)
	return b
}

// clientNetwork returns where r is from. An IPv6 client has a /64 at least, so
// that is what counts.
func clientNetwork(r *http.Request, trusted []netip.Prefix) string {
	address := clientAddress(r, trusted)
	if address.Is6() {
		if network, err := address.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

// clientAddress returns the address that r comes from. When that is a trusted
// proxy, it is the address that the proxy names in X-Forwarded-For, and so on from
// right to left. What is left of an untrusted address may be made up.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !IsTrusted(address, trusted) {
			break
		}
		next, err := parseHop(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		address = next.Unmap()
	}
	return address
}

// IsTrusted reports whether address is in one of the networks.
func IsTrusted(address netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(network netip.Prefix) bool { return network.Contains(address.WithZone("")) })
}

// OnLoopback reports whether the request has arrived at an address that only programs
// on this machine reach.
func OnLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

// parseHop accepts an address with and without a port.
func parseHop(text string) (netip.Addr, error) {
	if hop, err := netip.ParseAddrPort(text); err == nil {
		return hop.Addr(), nil
	}
	return netip.ParseAddr(text)
}
