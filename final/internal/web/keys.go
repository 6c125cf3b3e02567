package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keysLast is how long the issuer's keys are used before they are read again.
	keysLast = 5 * time.Minute
	// keysRetry is when to try again after that has failed, and firstKeysRetry while
	// there are no keys at all.
	keysRetry, firstKeysRetry = 30 * time.Second, time.Second
	// unknownKeyPause is the time between two refreshes because of an unknown key:
	// anyone can send a token with one.
	unknownKeyPause = 10 * time.Second
	// unknownKeyWait is how long a request waits for such a refresh.
	unknownKeyWait = time.Second
	// issuerTimeout bounds a refresh.
	issuerTimeout = 5 * time.Second
	// maxIssuerBody is the size of the largest document of an issuer, in bytes.
	maxIssuerBody = 1 << 20
)

// errKeysUnknown is returned while no keys have been read since the start.
var errKeysUnknown = errors.New("the issuer's keys are not known yet")

// keySet has the keys of an issuer, and keeps them up to date.
type keySet struct {
	cfg     AccessConfig
	client  *http.Client
	log     *slog.Logger
	current atomic.Pointer[keyring] // nil: none have been read yet

	url     string // where the keys are, once that is known
	failing bool   // whether the last refresh failed

	mu      sync.Mutex
	asked   time.Time     // when an unknown key last caused a refresh
	ended   chan struct{} // closed when the refresh that is due or under way has ended; nil: there is none
	due     chan struct{} // receives when a refresh is due
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newKeySet(cfg AccessConfig, log *slog.Logger) (*keySet, error) {
	config, err := cfg.TLS.Client()
	if err != nil {
		return nil, fmt.Errorf("the issuer's CA (AUTH_CA_FILE): %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &keySet{
		cfg: cfg, log: log, url: cfg.JWKSURL, due: make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport,
			Timeout:   issuerTimeout,
			// A redirect could lead to plain HTTP.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// start begins to read the keys. The caller must call stop.
func (k *keySet) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.running.Go(func() { k.run(ctx) })
}

// stop ends what start has begun, if it has been called.
func (k *keySet) stop() {
	if k.cancel != nil {
		k.cancel()
	}
	k.running.Wait()
	k.client.CloseIdleConnections()
}

// find returns the key to verify a signature with, and the keys that it is one of.
// For an unknown key it waits for at most unknownKeyWait. It returns errUnknownKey,
// or errKeysUnknown while all keys are unknown.
func (k *keySet) find(ctx context.Context, id, algorithm string) (any, *keyring, error) {
	keys := k.current.Load()
	if key := keys.key(id, algorithm); key != nil {
		return key, keys, nil
	}
	ctx, cancel := context.WithTimeout(ctx, unknownKeyWait)
	defer cancel()
	if ended := k.refreshed(); ended != nil {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	keys = k.current.Load()
	if key := keys.key(id, algorithm); key != nil {
		return key, keys, nil
	}
	if keys == nil {
		return nil, nil, errKeysUnknown
	}
	return nil, nil, errUnknownKey
}

// refreshed returns a channel that is closed when the keys have been read, or nil
// when they are not read again so soon.
func (k *keySet) refreshed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == nil && time.Since(k.asked) >= unknownKeyPause {
		k.asked, k.ended = time.Now(), make(chan struct{})
		k.due <- struct{}{} // there is room: run has received the one before
	}
	return k.ended
}

// run keeps the keys up to date until ctx ends.
func (k *keySet) run(ctx context.Context) {
	for {
		pause := keysLast
		if err := k.refresh(ctx); err != nil {
			if pause = keysRetry; k.current.Load() == nil {
				pause = firstKeysRetry
			}
			if !k.failing && ctx.Err() == nil {
				k.log.Warn("issuer's keys not read, retrying", "issuer", k.cfg.Issuer, "error", err)
			}
			k.failing = true
		} else if k.failing {
			k.failing = false
			k.log.Info("issuer's keys read again", "issuer", k.cfg.Issuer)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-k.due:
		case <-ctx.Done():
			return
		}
		timer.Stop()
	}
}

// refresh reads the keys. Those that are known stay when it fails.
func (k *keySet) refresh(ctx context.Context) error {
	k.mu.Lock()
	if k.ended == nil {
		k.ended = make(chan struct{})
	}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		close(k.ended)
		k.ended = nil
		select {
		case <-k.due: // what was due has been done
		default:
		}
		k.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, issuerTimeout)
	defer cancel()
	if k.url == "" {
		found, err := k.discover(ctx)
		if err != nil {
			return err
		}
		k.url = found
	}
	text, err := k.get(ctx, k.url)
	if err != nil {
		k.url = k.cfg.JWKSURL // it may have moved
		return err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", k.url, err)
	}
	if known := k.current.Load(); !keys.equal(known) {
		k.current.Store(keys)
		if !k.failing { // else run says so
			k.log.Info("issuer's keys read", "issuer", k.cfg.Issuer, "keys", keys.size)
		}
	}
	return nil
}

// discover returns where the issuer says its keys are: by OpenID Connect
// Discovery or, where there is none, RFC 8414.
func (k *keySet) discover(ctx context.Context) (string, error) {
	issuer, err := url.Parse(k.cfg.Issuer)
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(issuer.Path, "/")
	var errs []error
	for _, place := range []string{path + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server" + path} {
		issuer.Path = place
		found, err := k.discoverAt(ctx, issuer.String())
		if err == nil {
			return found, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func (k *keySet) discoverAt(ctx context.Context, address string) (string, error) {
	text, err := k.get(ctx, address)
	if err != nil {
		return "", err
	}
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	if metadata.Issuer != k.cfg.Issuer {
		return "", fmt.Errorf("%s is the metadata of another issuer, %q", address, metadata.Issuer)
	}
	if !IsSecure(metadata.JWKSURI) {
		return "", fmt.Errorf("%s: jwks_uri %q is not an https URL", address, metadata.JWKSURI)
	}
	return metadata.JWKSURI, nil
}

// IsSecure reports whether what is read from a URL cannot be changed on its way:
// by https, or from this machine.
func IsSecure(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

func (k *keySet) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", address, response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxIssuerBody+1))
	if err == nil && len(text) > maxIssuerBody {
		err = errors.New("the document is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return text, nil
}
