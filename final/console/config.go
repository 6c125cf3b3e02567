package console

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	HTTPAddr string // where the page and the feed are served, host:port
	Stage    string // what is watched: final, or a chapter such as 06

	PlatformsURL string // of PlatformService; several, separated by commas, are its replicas
	CommandsURL  string // of CommandsService, the same

	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; the default user is guest
	Exchange    string // that the console has its own queue on
	Queue       string // CommandsService's, whose depth is shown

	PlatformsAdminURL string // where probes and metrics are, when not at PlatformsURL
	CommandsAdminURL  string // the same

	TokenFile string // holds the token that the lists and the metrics are read with; empty: none

	RetryDelays []time.Duration // CommandsService's: each has a queue

	ControlURL    string // of the tool that breaks parts on request; empty: none does
	ControlSecret secret // what it and the console recognize each other by

	MaxConnections int // HTTP connections that are open at once; more wait

	Guard web.GuardConfig // who may send which requests, and how many

	HTTPTLS     tlsconfig.Files // HTTPS, when there is a certificate
	ServicesTLS tlsconfig.Files // for https URLs of the services
	RabbitMQTLS tlsconfig.Files // for an amqps URL
}

// secret is text that no log shows.
type secret string

// LogValue implements slog.LogValuer.
func (secret) LogValue() slog.Value { return slog.StringValue("xxxxx") }

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := settings.NewEnv(lookup)
	cfg := Config{
		HTTPAddr: env.Addr("CONSOLE_HTTP_ADDR", "localhost:7000"),
		Stage:    env.OneOf("CONSOLE_STAGE", "final", "02", "06", "07"),

		PlatformsURL: env.Text("PLATFORMS_URL", "http://localhost:5000"),
		CommandsURL:  env.Text("COMMANDS_URL", "http://localhost:6000"),

		PlatformsAdminURL: env.Text("PLATFORMS_ADMIN_URL", ""),
		CommandsAdminURL:  env.Text("COMMANDS_ADMIN_URL", ""),

		TokenFile: env.File("CONSOLE_TOKEN_FILE"),

		Queue:       env.CommandsQueue(),
		RetryDelays: env.Delays("COMMANDS_RETRY_DELAYS", bus.RetryDelays()),

		ControlURL:    env.HTTPURL("CONSOLE_CONTROL_URL", "http://localhost:7001"),
		ControlSecret: secret(env.Text("CONSOLE_CONTROL_SECRET", "")),

		Guard:       env.Guard(),
		HTTPTLS:     env.ServerTLS("CONSOLE_TLS"),
		ServicesTLS: env.ClientTLS("CONSOLE_SERVICES_TLS"),
	}
	exchange := "microcomm.platforms"
	if cfg.Stage != "final" {
		exchange = "trigger"
	}
	cfg.Exchange = env.BrokerName("RABBITMQ_EXCHANGE", exchange)
	cfg.RabbitMQURL, cfg.RabbitMQTLS = env.Broker()
	_, cfg.MaxConnections = env.HTTPLimits()
	for name, value := range map[string]string{"PLATFORMS_URL": cfg.PlatformsURL, "COMMANDS_URL": cfg.CommandsURL,
		"PLATFORMS_ADMIN_URL": cfg.PlatformsAdminURL, "COMMANDS_ADMIN_URL": cfg.CommandsAdminURL} {
		for _, one := range replicas(value) {
			if value == "" && strings.Contains(name, "ADMIN") {
				break
			}
			if u, err := url.Parse(one); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.User != nil {
				env.Wrong(name, "not URLs such as http://localhost:5000, separated by commas")
			}
		}
	}
	if cfg.ControlURL != "" && cfg.ControlSecret == "" {
		env.Wrong("CONSOLE_CONTROL_SECRET", "CONSOLE_CONTROL_URL needs one")
	}
	return cfg, env.Err()
}

// anonymous reports whether the services want a token that the console does not have.
func (c Config) anonymous() bool { return c.Guard.Access.Issuer != "" && c.TokenFile == "" }

// measured reports whether the metrics of a service with this admin URL can be read.
func (c Config) measured(adminURL string) bool { return !c.anonymous() || adminURL != "" }

// replicas returns the URLs in a setting.
func replicas(urls string) []string {
	var all []string
	for one := range strings.SplitSeq(urls, ",") {
		all = append(all, strings.TrimSuffix(strings.TrimSpace(one), "/"))
	}
	return all
}
