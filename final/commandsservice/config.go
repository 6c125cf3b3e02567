package commandsservice

import (
	"time"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore

	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; the default user is guest
	Exchange    string // the durable fanout exchange that delivers events

	Queue       string          // the durable queue that all replicas share
	Prefetch    int             // how many events the broker sends before they are acknowledged
	RetryDelays []time.Duration // before an event is delivered again: one for each attempt after the first

	GRPCTarget string // PlatformService's gRPC server, host:port

	DrainTime            time.Duration // how long requests are still handled after the signal to stop
	RequestLimit         int           // REST requests that use the database at once; more get a 503
	MaxConnections       int           // HTTP connections that are open at once; more wait
	DatabaseWait         time.Duration // how long to wait at start for a database that is not up
	BackfillReadyTimeout time.Duration // how long the service is unready for a first backfill that does not end

	Guard     web.GuardConfig // who may send which requests, and how many
	AdminAddr string          // where the probes and the metrics are, host:port; empty: at HTTPAddr

	HTTPTLS tlsconfig.Files // HTTPS, when there is a certificate
	GRPCTLS tlsconfig.Files // gRPC over TLS, when there is a CA or a certificate

	RabbitMQTLS tlsconfig.Files // for an amqps URL
}

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := settings.NewEnv(lookup)
	cfg := Config{
		HTTPAddr:    env.Addr("COMMANDS_HTTP_ADDR", "localhost:6000"),
		DatabaseURL: env.DatabaseURL("COMMANDS_DATABASE_URL", "sqlite::memory:"),

		Exchange:    env.Exchange(),
		Queue:       env.CommandsQueue(),
		Prefetch:    env.Number("COMMANDS_PREFETCH", 512, 1, 65535),
		RetryDelays: env.Delays("COMMANDS_RETRY_DELAYS", bus.RetryDelays()),

		GRPCTarget: env.Target("PLATFORMS_GRPC_TARGET", "localhost:5001"),

		DrainTime:            env.DrainTime(),
		DatabaseWait:         env.Duration("COMMANDS_DATABASE_WAIT", time.Minute),
		BackfillReadyTimeout: env.Duration("BACKFILL_READY_TIMEOUT", 30*time.Second),

		Guard:     env.Guard(),
		AdminAddr: env.AdminAddr("COMMANDS_ADMIN_ADDR"),

		HTTPTLS: env.ServerTLS("COMMANDS_TLS"),
		GRPCTLS: env.ClientTLS("COMMANDS_GRPC_TLS"),
	}
	cfg.RabbitMQURL, cfg.RabbitMQTLS = env.Broker()
	cfg.RequestLimit, cfg.MaxConnections = env.HTTPLimits()
	env.OwnAddr("COMMANDS_ADMIN_ADDR", cfg.AdminAddr, cfg.HTTPAddr)
	for _, delay := range cfg.RetryDelays {
		env.FitsBroker("COMMANDS_QUEUE", retryQueue(cfg.Queue, delay))
	}
	return cfg, env.Err()
}
