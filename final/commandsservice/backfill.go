package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/backoff"
)

const (
	// batchTimeout bounds the storing of one batch.
	batchTimeout = 30 * time.Second
	// hopelessPause is the pause after an error that retrying alone will not fix.
	hopelessPause = time.Minute
	// progressInterval is how often a long run logs its progress.
	progressInterval = 5 * time.Second
)

// errRefused is returned when the database refuses some of the platforms.
var errRefused = errors.New("the database refuses platforms")

// backfill stores the platforms whose events this service did not receive.
type backfill struct {
	client    *platformsClient
	store     commandStore
	metrics   *backfillMetrics
	log       *slog.Logger
	requested chan struct{} // holds at most one request: one run serves every request made before it

	readyTimeout     time.Duration // after that, the service is ready without a backfill
	ready            atomic.Bool
	progressInterval time.Duration
}

// newBackfill returns a backfill with its first run requested.
func newBackfill(client *platformsClient, store commandStore, readyTimeout time.Duration, metrics *backfillMetrics, log *slog.Logger) *backfill {
	b := &backfill{client: client, store: store, metrics: metrics, log: log, requested: make(chan struct{}, 1),
		readyTimeout: readyTimeout, progressInterval: progressInterval}
	b.request()
	return b
}

// request requests a run. It does not wait for it.
func (b *backfill) request() {
	select {
	case b.requested <- struct{}{}:
	default: // one is due already
	}
}

// check returns an error until the first run has succeeded, or readyTimeout has
// passed. The service is unready until then, because clients would miss platforms
// that PlatformService has had for a long time.
func (b *backfill) check(context.Context) error {
	if !b.ready.Load() {
		return errors.New("the first backfill has not ended yet")
	}
	return nil
}

// run executes the requested runs until ctx ends.
func (b *backfill) run(ctx context.Context) {
	readyAnyway := time.AfterFunc(b.readyTimeout, func() { b.ready.Store(true) })
	defer readyAnyway.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.requested:
			b.retry(ctx)
		}
	}
}

// retry makes attempts until one succeeds or ctx ends. PlatformService may not
// be up yet. An attempt continues where the one before it ended.
func (b *backfill) retry(ctx context.Context) {
	var pause backoff.Backoff
	run := &backfillRun{backfill: b}
	for {
		err := run.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		b.metrics.ran(err)
		if err == nil {
			b.ready.Store(true)
			b.log.Info("backfill done", "received", run.received, "new", run.stored)
			return
		}
		if advice := adviceFor(err); advice != "" {
			b.log.Error("backfill failed, retrying in a minute", "advice", advice, "error", err)
			err = backoff.PauseFor(ctx, hopelessPause)
			run = &backfillRun{backfill: b} // from the first platform again
		} else {
			b.log.Warn("backfill failed, retrying", "after", run.after, "error", err)
			err = pause.Wait(ctx)
		}
		if err != nil {
			return
		}
	}
}

// backfillRun is one run, of one attempt or more.
type backfillRun struct {
	*backfill
	after            int32 // the last id that is stored: the next attempt begins after it
	received, stored int
	refused          int       // platforms that the database refused
	logged           time.Time // when progress was logged last
}

func (r *backfillRun) attempt(ctx context.Context) error {
	r.logged = time.Now()
	err := r.client.platforms(ctx, r.after, func(batch []platform) error { return r.storeBatch(ctx, batch) })
	if err == nil && r.refused > 0 {
		err = fmt.Errorf("%w: %d", errRefused, r.refused)
	}
	return err
}

// storeBatch stores the valid platforms of a batch.
func (r *backfillRun) storeBatch(ctx context.Context, batch []platform) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	valid := make([]platform, 0, len(batch))
	for _, p := range batch {
		if err := p.validate(); err != nil {
			r.log.Warn("backfill dropped a platform", "id", p.ExternalID, "reason", err)
			continue
		}
		valid = append(valid, p)
	}
	stored, refused, err := r.storeValid(ctx, valid)
	if err != nil {
		return fmt.Errorf("store the response: %w", err)
	}
	r.metrics.stored(stored, len(valid)-refused-stored)
	r.received += len(batch)
	r.stored += stored
	r.refused += refused
	r.after = max(r.after, batch[len(batch)-1].ExternalID)
	if time.Since(r.logged) >= r.progressInterval {
		r.logged = time.Now()
		r.log.Info("backfill in progress", "received", r.received, "new", r.stored, "after", r.after)
	}
	return nil
}

// storeValid stores platforms. If the database refuses some, that is no error. If it
// refuses all of them, it is: then the platforms are not to blame.
func (r *backfillRun) storeValid(ctx context.Context, platforms []platform) (stored, refused int, err error) {
	if len(platforms) == 0 {
		return 0, 0, nil
	}
	stored, errs := upsertEach(ctx, r.store, platforms)
	var first platform // that was refused
	for i, failed := range errs {
		if failed == nil {
			continue
		}
		if databaseUnavailable(failed) || ctx.Err() != nil {
			return 0, 0, failed
		}
		if refused == 0 {
			first, err = platforms[i], failed
		}
		refused++
	}
	if refused == len(platforms) {
		return 0, 0, err
	}
	if refused > 0 {
		r.log.Error("backfill cannot store platforms", "count", refused, "first", first.ExternalID, "error", err)
	}
	return stored, refused, nil
}

// adviceFor returns what to do about an error that the next attempt would return
// too, and an empty text for any other.
func adviceFor(err error) string {
	if errors.Is(err, errRefused) {
		return "the errors logged above say why; all other platforms are stored"
	}
	if errors.Is(err, errOneMessage) {
		return "the platforms no longer fit into one message of 4 MiB: update PlatformService to one that streams them"
	}
	if status.Code(err) == codes.Unimplemented {
		return "PLATFORMS_GRPC_TARGET is not a PlatformService that has GetAllPlatforms: correct it, or update that service"
	}
	return ""
}

// backfillMetrics counts what the backfill does.
type backfillMetrics struct {
	runs      *prometheus.CounterVec // by result: succeeded, failed
	platforms *prometheus.CounterVec // by result: stored, known
}

func newBackfillMetrics(registry prometheus.Registerer) *backfillMetrics {
	m := &backfillMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backfill_runs_total",
			Help: "Attempts to fetch the platforms that PlatformService has.",
		}, []string{"result"}),
		platforms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backfill_platforms_total",
			Help: "Platforms that the backfill received: new or with another name (stored), or known.",
		}, []string{"result"}),
	}
	for _, result := range []string{"succeeded", "failed"} {
		m.runs.WithLabelValues(result) // 0, not missing
	}
	for _, result := range []string{"stored", "known"} {
		m.platforms.WithLabelValues(result)
	}
	registry.MustRegister(m.runs, m.platforms)
	return m
}

// ran counts an attempt that ended with err.
func (m *backfillMetrics) ran(err error) {
	result := "succeeded"
	if err != nil {
		result = "failed"
	}
	m.runs.WithLabelValues(result).Inc()
}

// stored counts platforms that are committed.
func (m *backfillMetrics) stored(stored, known int) {
	m.platforms.WithLabelValues("stored").Add(float64(stored))
	m.platforms.WithLabelValues("known").Add(float64(known))
}
