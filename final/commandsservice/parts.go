package commandsservice

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// Parts are what a process that runs several services hands over to this one.
// The service makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener   // instead of Config.HTTPAddr
	Subscriber   bus.Subscriber // instead of RabbitMQ at Config.RabbitMQURL

	Tracers trace.TracerProvider // instead of none: spans go nowhere
}

func (p Parts) tracer() trace.Tracer {
	if p.Tracers == nil {
		return noop.NewTracerProvider().Tracer("")
	}
	return p.Tracers.Tracer("microcomm/final/commandsservice")
}

// Run is RunWith without any parts: for a process that is this service alone.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return RunWith(ctx, cfg, Parts{}, log)
}

// listenOn returns listener or, when it is nil, a new one on addr, which speaks
// TLS when files has a certificate. It has at most limit connections open at a time.
func listenOn(listener net.Listener, addr string, files tlsconfig.Files, limit int) (net.Listener, error) {
	config, err := files.Server()
	if err != nil {
		return nil, err
	}
	if listener == nil {
		if listener, err = net.Listen("tcp", addr); err != nil {
			return nil, err
		}
	}
	limited := web.LimitConnections(listener, limit)
	if config == nil {
		return limited, nil
	}
	return tls.NewListener(limited, config), nil
}
