package commandsservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
	"microcomm/final/proto"
)

// batchSize is how many platforms are received before they are stored, and fewer
// when their names reach MaxListText.
const batchSize = 1000

// platformsTimeout is how long the client waits for a batch of platforms, or for
// all of them when the server cannot stream.
const platformsTimeout = 30 * time.Second

// errOneMessage is returned when PlatformService cannot stream, and its platforms
// do not fit into one message.
var errOneMessage = errors.New("the platforms do not fit into one message")

// errSilent is returned when PlatformService sends nothing for too long.
var errSilent = errors.New("no response in time")

// platformsClient calls PlatformService by gRPC.
type platformsClient struct {
	target  string        // host:port
	timeout time.Duration // platformsTimeout, but in tests
	tls     tlsconfig.Files
	tracer  trace.Tracer
}

func newPlatformsClient(target string, files tlsconfig.Files, tracer trace.Tracer) *platformsClient {
	return &platformsClient{target: target, timeout: platformsTimeout, tls: files, tracer: tracer}
}

// platforms calls handle with the platforms that PlatformService has whose id is
// greater than after, in id order and a batch at a time. While handle runs, HTTP/2's
// flow control lets the server send a little ahead, and the rest waits there. It
// ends with the first error of handle. When a stream breaks, everything that
// arrived is handled before the error is returned, so that a later call can
// continue from there.
//
// A server without StreamPlatforms is asked for all platforms in one message; one
// larger than 4 MiB, grpc-go's default limit, is errOneMessage.
//
// It connects for this one call: a shared connection would make an attempt wait
// for the backoff of earlier ones.
func (c *platformsClient) platforms(ctx context.Context, after int32, handle func(batch []platform) error) error {
	security := insecure.NewCredentials() // plain text, as the server speaks it without a certificate
	if c.tls != (tlsconfig.Files{}) {
		config, err := c.tls.Client()
		if err != nil {
			return fmt.Errorf("connect to %s: %w", c.target, err)
		}
		security = credentials.NewTLS(config)
	}
	connection, err := grpc.NewClient(c.target,
		grpc.WithTransportCredentials(security),
		grpc.WithStaticStreamWindowSize(256<<10), // what waits for a slow database here: otherwise up to 16 MiB
		grpc.WithNoProxy(),                       // no proxy between two services
		grpc.WithDisableServiceConfig())          // no DNS lookup of one, which can take seconds to fail
	if err != nil {
		return fmt.Errorf("connect to %s: %w", c.target, err)
	}
	defer connection.Close()
	client := proto.NewGrpcPlatformClient(connection)
	err = c.stream(ctx, client, after, handle)
	if status.Code(err) == codes.Unimplemented {
		err = c.all(ctx, client, handle)
	}
	return err
}

// stream calls StreamPlatforms.
func (c *platformsClient) stream(ctx context.Context, client proto.GrpcPlatformClient, after int32, handle func([]platform) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call, end := telemetry.StartGRPCCall(ctx, c.tracer, "GrpcPlatform/StreamPlatforms")
	silence := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	defer silence.Stop()
	stream, err := client.StreamPlatforms(call, &proto.StreamPlatformsRequest{AfterId: after, PageSize: batchSize})
	for err == nil {
		var batch []platform
		batch, err = receiveBatch(stream)
		silence.Stop() // storing takes time, too, and the server is not to blame for that
		if len(batch) > 0 {
			if refused := handle(batch); refused != nil {
				end(refused)
				return refused
			}
		}
		silence.Reset(c.timeout)
	}
	if err == io.EOF {
		end(nil)
		return nil
	}
	err = withCause(ctx, err)
	end(err)
	return fmt.Errorf("call StreamPlatforms at %s: %w", c.target, err)
}

// receiveBatch receives platforms until there are enough for a batch. With an
// error, io.EOF at the end of the stream, it returns those that arrived before it.
func receiveBatch(stream grpc.ServerStreamingClient[proto.GrpcPlatformModel]) ([]platform, error) {
	batch := make([]platform, 0, batchSize)
	for text := 0; len(batch) < batchSize && text < web.MaxListText; {
		p, err := stream.Recv()
		if err != nil {
			return batch, err
		}
		batch = append(batch, platform{ExternalID: p.GetPlatformId(), Name: p.GetName()})
		text += len(p.GetName())
	}
	return batch, nil
}

// withCause adds to err why ctx has ended, when that says more.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// all calls GetAllPlatforms.
func (c *platformsClient) all(ctx context.Context, client proto.GrpcPlatformClient, handle func([]platform) error) error {
	call, end := telemetry.StartGRPCCall(ctx, c.tracer, "GrpcPlatform/GetAllPlatforms")
	call, cancel := context.WithTimeout(call, c.timeout)
	defer cancel()
	response, err := client.GetAllPlatforms(call, &proto.GetAllRequest{})
	end(err)
	if status.Code(err) == codes.ResourceExhausted {
		err = fmt.Errorf("%w: %w", errOneMessage, err)
	}
	if err != nil {
		return fmt.Errorf("call GetAllPlatforms at %s: %w", c.target, err)
	}
	all := response.GetPlatform()
	slices.SortFunc(all, func(a, b *proto.GrpcPlatformModel) int { return cmp.Compare(a.GetPlatformId(), b.GetPlatformId()) })
	for models := range slices.Chunk(all, batchSize) {
		batch := make([]platform, 0, len(models))
		for _, p := range models {
			batch = append(batch, platform{ExternalID: p.GetPlatformId(), Name: p.GetName()})
		}
		if err := handle(batch); err != nil {
			return err
		}
	}
	return nil
}
