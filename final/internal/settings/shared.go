package settings

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// What follows reads the settings that several programs share. Each has one name,
// one default and one error, whichever program reads it.

// Broker reads RABBITMQ_URL, and RABBITMQ_TLS_CA_FILE, RABBITMQ_TLS_CERT_FILE and
// RABBITMQ_TLS_KEY_FILE for an amqps URL.
func (e *Env) Broker() (url string, files tlsconfig.Files) {
	url = e.AMQPURL("RABBITMQ_URL", "amqp://localhost:5672/")
	files, err := bus.TLSFromEnv(e.lookup, url)
	if err != nil {
		e.wrong["RABBITMQ_TLS"] = err // which names all three
	}
	return url, files
}

// Exchange reads RABBITMQ_EXCHANGE, the exchange of the events.
func (e *Env) Exchange() string { return e.BrokerName("RABBITMQ_EXCHANGE", "microcomm.platforms") }

// CommandsQueue reads COMMANDS_QUEUE. The name of its dead letters has to fit, too.
func (e *Env) CommandsQueue() string {
	queue := e.BrokerName("COMMANDS_QUEUE", "commands.platforms")
	e.FitsBroker("COMMANDS_QUEUE", bus.DeadQueue(queue))
	return queue
}

// HTTPLimits reads HTTP_MAX_IN_FLIGHT, how many requests may use the database at
// once, and HTTP_MAX_CONNECTIONS, how many connections may be open.
func (e *Env) HTTPLimits() (requests, connections int) {
	requests = e.Number("HTTP_MAX_IN_FLIGHT", 256, 1, 1_000_000)
	return requests, e.Number("HTTP_MAX_CONNECTIONS", max(512, requests), 1, 1_000_000)
}

// Guard reads HTTP_RATE_LIMIT, TRUSTED_PROXIES and the settings of access control.
func (e *Env) Guard() web.GuardConfig {
	return web.GuardConfig{
		Access:         e.access(),
		RateLimit:      e.Number("HTTP_RATE_LIMIT", 0, 0, 1_000_000),
		TrustedProxies: e.networks("TRUSTED_PROXIES"),
	}
}

// access reads AUTH_*. Half of them would leave open what was meant to be closed.
func (e *Env) access() web.AccessConfig {
	cfg := web.AccessConfig{
		Issuer:    e.issuerURL("AUTH_ISSUER"),
		Audience:  e.Text("AUTH_AUDIENCE", ""),
		JWKSURL:   e.issuerURL("AUTH_JWKS_URL"),
		TokenType: e.OneOf("AUTH_TOKEN_TYPE", "at+jwt", "JWT"),
		Leeway:    e.DurationUpTo("AUTH_LEEWAY", 30*time.Second, 5*time.Minute),
		TLS:       tlsconfig.Files{CA: e.Text("AUTH_CA_FILE", "")},
	}
	if _, err := cfg.TLS.Client(); err != nil {
		e.Wrong("AUTH_CA_FILE", "%w", err)
	}
	if cfg.Issuer != "" {
		if cfg.Audience == "" {
			e.Wrong("AUTH_AUDIENCE", "AUTH_ISSUER is set, but no audience: tokens for any other service would be accepted")
		}
		return cfg
	}
	for _, name := range []string{"AUTH_AUDIENCE", "AUTH_JWKS_URL", "AUTH_CA_FILE"} {
		if e.Text(name, "") != "" {
			e.Wrong("AUTH_ISSUER", "it is not set, but %s is: access control would be off", name)
		}
	}
	return web.AccessConfig{}
}

// issuerURL accepts an https URL, or an http one of this machine, and an empty value.
func (e *Env) issuerURL(name string) string {
	value := e.HTTPURL(name, "https://issuer.example")
	if u, err := url.Parse(value); value != "" && (err != nil || !web.IsSecure(value) || u.User != nil || u.Fragment != "") {
		e.Wrong(name, "not an https URL without a user: who can change what is read from it can sign tokens")
	}
	return value
}

// networks accepts networks such as 10.0.0.0/8 and addresses, separated by commas.
func (e *Env) networks(name string) []netip.Prefix {
	var networks []netip.Prefix
	for _, text := range e.List(name) {
		network, err := netip.ParsePrefix(text)
		if address, addressErr := netip.ParseAddr(text); addressErr == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			e.Wrong(name, "%s is neither a network such as 10.0.0.0/8 nor an IP address", shown(text))
		}
		networks = append(networks, network.Masked())
	}
	return networks
}

// AdminAddr accepts the address of an admin port, or an empty value for none, which
// is the default.
func (e *Env) AdminAddr(name string) string {
	if e.Text(name, "") == "" {
		return ""
	}
	return e.Addr(name, "localhost:9090")
}

// OwnAddr refuses an address to listen on that is one of others.
func (e *Env) OwnAddr(name, addr string, others ...string) {
	if _, port, _ := net.SplitHostPort(addr); addr != "" && port != "0" && slices.Contains(others, addr) {
		e.Wrong(name, "another server listens there; each needs its own")
	}
}

// DrainTime reads DRAIN_TIME, how long requests are still handled after the signal
// to stop.
func (e *Env) DrainTime() time.Duration { return e.DurationUpTo("DRAIN_TIME", 0, 30*time.Second) }
