package platformservice

import (
	"context"
	"log/slog"
	"net"

	"microcomm/final/internal/bus"
)

// Parts are what a process that runs several services hands over to this one.
// The service makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener  // instead of Config.HTTPAddr
	GRPCListener net.Listener  // instead of Config.GRPCAddr
	Publisher    bus.Publisher // instead of RabbitMQ at Config.RabbitMQURL
}

// Run is RunWith without any parts: for a process that is this service alone.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return RunWith(ctx, cfg, Parts{}, log)
}

// listenOn returns listener or, when it is nil, a new one on addr.
func listenOn(listener net.Listener, addr string) (net.Listener, error) {
	if listener != nil {
		return listener, nil
	}
	return net.Listen("tcp", addr)
}
