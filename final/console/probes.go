package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"microcomm/final/internal/backoff"
)

const (
	probeInterval = 500 * time.Millisecond
	probeTimeout  = 1200 * time.Millisecond                                   // longer than a check of /readyz; both together are less than two seconds
	untraced      = "00-0000000000000000000000000000c0de-000000000000c0de-00" // the console's own requests need no spans
	maxMetrics    = 1 << 20                                                   // bytes of /metrics that are read
)

// target is one replica of a service.
type target struct {
	part     string // platformservice or commandsservice
	database string // the part that is its database
	replica  string // 1, 2, … when there are several
	url      string
	admin    string // where its probes and metrics are
}

// targets returns the replicas of a service.
func targets(part, database, urls, adminURLs string) []target {
	var all []target
	admin := replicas(adminURLs)
	for i, url := range replicas(urls) {
		t := target{part: part, database: database, url: url, admin: url}
		if adminURLs != "" && i < len(admin) {
			t.admin = admin[i]
		}
		if strings.Contains(urls, ",") {
			t.replica = strconv.Itoa(i + 1)
		}
		all = append(all, t)
	}
	return all
}

// probe asks a service, twice a second, whether it is ready. It does not ask the
// console's other sources, so it knows of a service that is paused, too.
func (s *service) probe(ctx context.Context, t target) {
	for backoff.PauseFor(ctx, probeInterval) == nil {
		content := s.readiness(ctx, t)
		if ctx.Err() != nil {
			return
		}
		content.Replica = t.replica
		s.parts.report(t.part, content)
		if t.part == "platformservice" {
			s.parts.report("relay", content)
		}
	}
}

// readiness returns the state of a service. It reports that of its database on the way.
func (s *service) readiness(ctx context.Context, t target) partContent {
	path := "/readyz"
	if s.cfg.Stage == "02" { // without probes: a list will do
		path = listPath(t.part)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	status, body, err := s.get(ctx, t.admin+path, maxMetrics)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return partContent{State: down, Detail: "no server is listening"}
	case errors.Is(err, context.DeadlineExceeded):
		return partContent{State: down, Detail: "it does not respond"}
	case err != nil:
		return partContent{State: down, Detail: "the connection failed"}
	case status == http.StatusOK && path != "/readyz":
		s.parts.report(t.database, partContent{State: up})
		return partContent{State: up}
	case path != "/readyz" || status == http.StatusNotFound:
		return partContent{State: up}
	}
	var ready struct {
		Status string
		Checks map[string]struct{ Status, Detail string }
	}
	if json.Unmarshal(body, &ready) != nil {
		return partContent{State: down, Detail: fmt.Sprintf("status %d", status)}
	}
	database := partContent{State: up, Replica: t.replica}
	if check, ok := ready.Checks["database"]; ok && check.Status != "ok" {
		database.State, database.Detail = down, check.Detail
	}
	s.parts.report(t.database, database)
	if t.part == "platformservice" {
		s.parts.report("outbox", database)
	}
	switch ready.Status {
	case "starting", "stopping":
		return partContent{State: ready.Status}
	case "unavailable":
		return partContent{State: up, Detail: "not ready"}
	}
	return partContent{State: up}
}

// measure reads the metrics of a service's replicas, once a second.
func (s *service) measure(ctx context.Context, all []target, say func(sum map[string]float64)) {
	for backoff.PauseFor(ctx, time.Second) == nil {
		sum := map[string]float64{}
		for _, t := range all {
			attempt, cancel := context.WithTimeout(ctx, probeTimeout)
			status, body, err := s.get(attempt, t.admin+"/metrics", maxMetrics)
			cancel()
			if err == nil && status == http.StatusOK {
				addMetrics(sum, body)
			}
		}
		if len(sum) > 0 {
			say(sum)
		}
	}
}

// addMetrics adds the metrics that the console shows, by their names and labels.
func addMetrics(sum map[string]float64, text []byte) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		for _, wanted := range []string{"outbox_pending_events", "outbox_oldest_event_age_seconds", "events_consumed_total", "backfill_platforms_total"} {
			if strings.HasPrefix(name, wanted) {
				number, _ := strconv.ParseFloat(value, 64)
				sum[name] += number
			}
		}
	}
}

// outboxGauge says what waits in the outbox. All replicas have the same one.
func (s *service) outboxGauge() func(map[string]float64) {
	replicas := float64(len(s.platforms))
	last := [2]float64{-1} // nothing yet
	return func(sum map[string]float64) {
		now := [2]float64{sum["outbox_pending_events"] / replicas, sum["outbox_oldest_event_age_seconds"] / replicas}
		if now != last {
			last = now
			s.feed.add(time.Now(), "gauge", "outbox", map[string]float64{"pending": now[0], "oldestSeconds": now[1]})
		}
	}
}

// eventGauges say what became of events, and what the backfill has brought.
func (s *service) eventGauges() func(map[string]float64) {
	last := map[string]string{}
	return func(sum map[string]float64) {
		for subject, metric := range map[string]string{"events": "events_consumed_total", "backfill": "backfill_platforms_total"} {
			content := map[string]float64{}
			for name, value := range sum {
				if result, ok := strings.CutPrefix(name, metric+`{result="`); ok {
					content[strings.TrimSuffix(result, `"}`)] = value
				}
			}
			if text := fmt.Sprint(content); text != last[subject] { // the keys are in order
				last[subject] = text
				s.feed.add(time.Now(), "gauge", subject, content)
			}
			if subject == "backfill" {
				s.journey.backfilled(int(content["stored"]))
			}
		}
	}
}

// get sends a request to a service and returns the response, of at most limit bytes.
func (s *service) get(ctx context.Context, url string, limit int64) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if s.cfg.TokenFile != "" {
		token, err := os.ReadFile(s.cfg.TokenFile) // every time: it may have been replaced
		if err != nil {
			return 0, nil, fmt.Errorf("read CONSOLE_TOKEN_FILE: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	request.Header.Set("traceparent", untraced)
	if s.watched.Client != "" {
		request.Header.Set("X-Forwarded-For", s.watched.Client)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, limit))
	return response.StatusCode, body, err
}
