package platformservice

import (
	"net"
	"strings"
	"time"

	"microcomm/final/internal/settings"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore
	Seed        bool   // store some example platforms when there are none

	CommandsServiceURL     string        // where new platforms are posted; empty: nowhere
	CommandsServiceTimeout time.Duration // for one such call

	DatabaseWait time.Duration // how long to wait at start for a database that is not up

	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; the default user is guest
	Exchange    string // the durable fanout exchange that events are published to
	BindTrigger bool   // pass the events on to the exchange trigger, for .NET services

	GRPCAddr string // where gRPC listens, host:port

	SQLiteSynchronous string        // FULL or NORMAL; see openSQLite
	DrainTime         time.Duration // how long requests are still handled after the signal to stop
	RequestLimit      int           // REST requests that use the database at once; more get a 503
	MaxConnections    int           // HTTP connections that are open at once; more wait

	Docs string // what /docs describes: own, this API, or all, those that a gateway routes

	Guard     web.GuardConfig // who may send which requests, and how many
	AdminAddr string          // where the probes and the metrics are, host:port; empty: at HTTPAddr

	HTTPTLS tlsconfig.Files // HTTPS, when there is a certificate
	GRPCTLS tlsconfig.Files // gRPC over TLS, the same; with a CA for clients that have a certificate of it

	GRPCClients []string // names of clients' certificates, one of which is needed for gRPC; empty: any

	RabbitMQTLS        tlsconfig.Files // for an amqps URL
	CommandsServiceTLS tlsconfig.Files // for an https URL
}

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := settings.NewEnv(lookup)
	cfg := Config{
		HTTPAddr:    env.Addr("PLATFORMS_HTTP_ADDR", "localhost:5000"),
		DatabaseURL: env.DatabaseURL("DATABASE_URL", "sqlite::memory:"),

		CommandsServiceURL:     env.HTTPURL("COMMANDS_SERVICE_URL", "http://localhost:6000/api/c/platforms"),
		CommandsServiceTimeout: env.Duration("COMMANDS_SERVICE_TIMEOUT", 2*time.Second),

		DatabaseWait: env.Duration("DATABASE_WAIT", time.Minute),

		Exchange:    env.Exchange(),
		BindTrigger: env.Boolean("RABBITMQ_BIND_TRIGGER", false),

		GRPCAddr: env.Addr("PLATFORMS_GRPC_ADDR", "localhost:5001"),

		SQLiteSynchronous: env.OneOf("SQLITE_SYNCHRONOUS", "FULL", "NORMAL"),
		DrainTime:         env.DrainTime(),

		Docs: env.OneOf("PLATFORMS_DOCS", "own", "all"),

		Guard:     env.Guard(),
		AdminAddr: env.AdminAddr("PLATFORMS_ADMIN_ADDR"),

		HTTPTLS: env.ServerTLS("PLATFORMS_TLS"),
		GRPCTLS: env.ServerTLS("PLATFORMS_GRPC_TLS"),
	}
	cfg.RabbitMQURL, cfg.RabbitMQTLS = env.Broker()
	cfg.RequestLimit, cfg.MaxConnections = env.HTTPLimits()
	// Real data is not mixed with examples unless asked for.
	cfg.Seed = env.Boolean("SEED_DATA", !sqlserver.IsURL(cfg.DatabaseURL))
	cfg.CommandsServiceTLS = env.ClientTLS("COMMANDS_SERVICE_TLS")
	if cfg.CommandsServiceTLS != (tlsconfig.Files{}) && !strings.HasPrefix(cfg.CommandsServiceURL, "https://") {
		env.Wrong("COMMANDS_SERVICE_TLS_*_FILE", "COMMANDS_SERVICE_URL is not an https URL")
	}
	if _, port, _ := net.SplitHostPort(cfg.HTTPAddr); cfg.HTTPAddr == cfg.GRPCAddr && port != "0" {
		env.Wrong("PLATFORMS_GRPC_ADDR", "it is that of PLATFORMS_HTTP_ADDR; each needs its own")
	}
	env.OwnAddr("PLATFORMS_ADMIN_ADDR", cfg.AdminAddr, cfg.HTTPAddr, cfg.GRPCAddr)
	cfg.GRPCClients = env.List("PLATFORMS_GRPC_TLS_CLIENT_NAMES")
	if len(cfg.GRPCClients) > 0 && cfg.GRPCTLS.CA == "" {
		env.Wrong("PLATFORMS_GRPC_TLS_CLIENT_NAMES", "without PLATFORMS_GRPC_TLS_CLIENT_CA_FILE clients have no names")
	}
	if cfg.BindTrigger && cfg.Exchange == legacyExchange {
		env.Wrong("RABBITMQ_EXCHANGE", "with RABBITMQ_BIND_TRIGGER it cannot be %s itself", legacyExchange)
	}
	return cfg, env.Err()
}
