package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// path is one way through the system.
type path struct {
	name    string
	measure func(ctx context.Context, b *bench) ([]result, error)
}

func paths() []path {
	return []path{
		{"POST, synchronous=FULL, 32 clients", func(ctx context.Context, b *bench) ([]result, error) {
			return measurePost(ctx, b, "FULL", 32, 3)
		}},
		{"POST, synchronous=NORMAL, 1 client", func(ctx context.Context, b *bench) ([]result, error) {
			return measurePost(ctx, b, "NORMAL", 1, 0.85)
		}},
		{"POST, synchronous=NORMAL, 32 clients", func(ctx context.Context, b *bench) ([]result, error) {
			return measurePost(ctx, b, "NORMAL", 32, 0.85)
		}},
		{"GET one", measureGetOne},
		{"GET all", measureGetAll},
		{"GET a list", measureLists},
		{"with a token", measureToken},
		{"POST to readable", measureReadable},
		{"consume", measureConsume},
		{"backfill", measureBackfill},
		{"sync or async", measureSync},
		{"start", measureStart},
	}
}

// noBroker is an address without a broker, so that the relay idles.
const noBroker = "RABBITMQ_URL=amqp://127.0.0.1:1/"

// inTurns calls both sides, one after the other, once for each round.
func (b *bench) inTurns(ours, floor func() (float64, error)) (a, f []float64, err error) {
	for range b.rounds {
		one, err := ours()
		if err != nil {
			return nil, nil, fmt.Errorf("ours: %w", err)
		}
		other, err := floor()
		if err != nil {
			return nil, nil, fmt.Errorf("floor: %w", err)
		}
		a, f = append(a, one), append(f, other)
	}
	return a, f, nil
}

// compare makes a result of rates; higher is better.
func compare(name, unit string, ours, floor []float64, aim float64) result {
	median, low, high := ratios(ours, floor)
	return result{path: name, ratio: median, low: low, high: high, aim: fmt.Sprintf("≥ %.2f", aim), met: median >= aim,
		ours: fmt.Sprintf("%.0f %s", medianOf(ours), unit), floor: fmt.Sprintf("%.0f %s", medianOf(floor), unit)}
}

func measurePost(ctx context.Context, b *bench, synchronous string, clients int, aim float64) ([]result, error) {
	dir, err := os.MkdirTemp(b.dir, "post")
	if err != nil {
		return nil, err
	}
	ours, err := b.start(ctx, "platformservice", "/api/platforms", []string{noBroker,
		"DATABASE_URL=sqlite:" + filepath.Join(dir, "ours.db"), "SQLITE_SYNCHRONOUS=" + synchronous, "LOG_LEVEL=warn"})
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	floor, err := b.start(ctx, "floor", "/api/platforms", nil, "http", filepath.Join(dir, "floor.db"), synchronous)
	if err != nil {
		return nil, err
	}
	defer floor.stop()
	rate := func(addr string) func() (float64, error) {
		return func() (float64, error) {
			l, err := drive(ctx, clients, b.duration(), http.StatusCreated, post(ctx, addr))
			return l.perSecond, err
		}
	}
	a, f, err := b.inTurns(rate(ours.addr), rate(floor.addr))
	if err != nil {
		return nil, err
	}
	return []result{compare(fmt.Sprintf("POST, synchronous=%s, %d clients", synchronous, clients), "/s", a, f, aim)}, nil
}

// filled returns a database file of PlatformService's with n platforms.
func (b *bench) filled(ctx context.Context, n int) (string, error) {
	file := filepath.Join(b.dir, fmt.Sprintf("platforms-%d.db", n))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	p, err := b.start(ctx, "platformservice", "/api/platforms", []string{noBroker, "DATABASE_URL=sqlite:" + file})
	if err != nil {
		return "", err
	}
	p.stop()
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		return "", err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO platforms (name, publisher, cost) SELECT 'platform ' || i, 'bench', 'Free' FROM n`, n)
	return file, err
}

func (b *bench) startReaders(ctx context.Context, rows int) (ours, floor *program, err error) {
	file, err := b.filled(ctx, rows)
	if err != nil {
		return nil, nil, err
	}
	ours, err = b.start(ctx, "platformservice", "/api/platforms/1", []string{noBroker, "DATABASE_URL=sqlite:" + file, "LOG_LEVEL=warn"})
	if err != nil {
		return nil, nil, err
	}
	floor, err = b.start(ctx, "floor", "/api/platforms/1", nil, "http", file, "FULL")
	if err != nil {
		ours.stop()
		return nil, nil, err
	}
	return ours, floor, nil
}

func measureGetOne(ctx context.Context, b *bench) ([]result, error) {
	const rows = 1000
	ours, floor, err := b.startReaders(ctx, rows)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	defer floor.stop()
	rate := func(addr string) func() (float64, error) {
		return func() (float64, error) {
			path := func(client, n int) string { return fmt.Sprintf("/api/platforms/%d", 1+(client*7919+n)%rows) }
			l, err := drive(ctx, 8, b.duration(), http.StatusOK, get(ctx, addr, path))
			return l.perSecond, err
		}
	}
	a, f, err := b.inTurns(rate(ours.addr), rate(floor.addr))
	if err != nil {
		return nil, err
	}
	return []result{compare("GET one, 8 clients", "/s", a, f, 0.85)}, nil
}

func measureGetAll(ctx context.Context, b *bench) ([]result, error) {
	rows := b.scale(100_000)
	ours, floor, err := b.startReaders(ctx, rows)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	defer floor.stop()
	before := ours.memory("VmRSS")
	rate := func(addr string) func() (float64, error) {
		return func() (float64, error) {
			l, err := drive(ctx, 1, b.duration(), http.StatusOK, get(ctx, addr, func(int, int) string { return "/api/platforms" }))
			return l.perSecond * float64(rows), err
		}
	}
	a, f, err := b.inTurns(rate(ours.addr), rate(floor.addr))
	if err != nil {
		return nil, err
	}
	growth := ours.memory("VmHWM") - before
	return []result{compare(fmt.Sprintf("GET all, %d rows", rows), "rows/s", a, f, 0.9),
		{path: "GET all: memory growth", ours: fmt.Sprintf("%.0f MiB", growth), floor: "–", aim: "< 32 MiB", met: growth < 32}}, nil
}

// measureLists measures requests for lists that fit into memory, by the processor time of
// the service: the clients, on the same machine, use more than half of the total.
func measureLists(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for rows, aim := range map[int]float64{1000: 0.75, 3: 0.7} {
		ours, floor, err := b.startReaders(ctx, rows)
		if err != nil {
			return nil, err
		}
		rate := func(p *program) func() (float64, error) {
			return func() (float64, error) {
				before := p.processorTime()
				l, err := drive(ctx, 4, b.duration(), http.StatusOK, get(ctx, p.addr, func(int, int) string { return "/api/platforms?limit=1000" }))
				return float64(len(l.latencies)) / (p.processorTime() - before).Seconds(), err
			}
		}
		a, f, err := b.inTurns(rate(ours), rate(floor))
		ours.stop()
		floor.stop()
		if err != nil {
			return nil, err
		}
		results = append(results, compare(fmt.Sprintf("GET a list of %d, 4 clients", rows), "per CPU second", a, f, aim))
	}
	slices.SortFunc(results, func(a, b result) int { return strings.Compare(a.path, b.path) })
	return results, nil
}

// queue returns the environment of a CommandsService with a database, an
// exchange and a queue that no other has.
func (b *bench) queue(name string) (file string, env []string) {
	id := fmt.Sprintf("bench-%d-%s-%d", os.Getpid(), name, time.Now().UnixNano())
	file = filepath.Join(b.dir, id+".db")
	return file, []string{"RABBITMQ_URL=" + b.broker, "RABBITMQ_EXCHANGE=" + id, "COMMANDS_QUEUE=" + id,
		"COMMANDS_DATABASE_URL=sqlite:" + file, "LOG_LEVEL=warn", "BACKFILL_READY_TIMEOUT=1ms"}
}

// measureReadable measures from the 201 of a POST until CommandsService has the
// platform, and compares it with a bare publish, consume and insert.
func measureReadable(ctx context.Context, b *bench) ([]result, error) {
	ours, stopOurs, err := b.readableOurs(ctx)
	if err != nil {
		return nil, err
	}
	defer stopOurs()
	floor, stopFloor, err := b.readableFloor(ctx)
	if err != nil {
		return nil, err
	}
	defer stopFloor()
	var p50, p99 [2][]float64
	for range b.rounds {
		for side, measure := range []func() (time.Duration, error){ours, floor} {
			l, err := b.calmly(measure)
			if err != nil {
				return nil, err
			}
			p50[side] = append(p50[side], l.percentile(0.5).Seconds()*1000)
			p99[side] = append(p99[side], l.percentile(0.99).Seconds()*1000)
		}
	}
	return []result{compareTimes("POST to readable, p50", p50, 1.5), compareTimes("POST to readable, p99", p99, 3)}, nil
}

// readableOurs starts both services, and returns what measures one POST. The first, which
// waits for the connections, is done.
func (b *bench) readableOurs(ctx context.Context) (latency func() (time.Duration, error), stop func(), err error) {
	file, env := b.queue("readable")
	platforms, err := b.start(ctx, "platformservice", "/api/platforms",
		append(env, "DATABASE_URL=sqlite:"+filepath.Join(b.dir, "readable.db")))
	if err != nil {
		return nil, nil, err
	}
	commands, err := b.start(ctx, "commandsservice", "/api/c/platforms", append(env, "PLATFORMS_GRPC_TARGET=127.0.0.1:1", "LOG_LEVEL=info"))
	if err != nil {
		platforms.stop()
		return nil, nil, err
	}
	stop = func() { commands.stop(); platforms.stop() }
	client := &http.Client{Timeout: 10 * time.Second}
	latency = func() (time.Duration, error) {
		response, err := client.Do(post(ctx, platforms.addr)(0, 0))
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		began := time.Now()
		var created row
		if err := json.NewDecoder(response.Body).Decode(&created); err != nil {
			return 0, err
		}
		return untilStored(ctx, commands, file, began, created.ID)
	}
	if _, err := latency(); err != nil {
		stop()
		return nil, nil, err
	}
	return latency, stop, nil
}

// readableFloor is readableOurs with the bare consumer.
func (b *bench) readableFloor(ctx context.Context) (latency func() (time.Duration, error), stop func(), err error) {
	file, env := b.queue("readable-floor")
	consumer, publish, stop, err := b.startConsumeFloor(ctx, file, append(env, "LOG_LEVEL=info"))
	if err != nil {
		return nil, nil, err
	}
	id := int32(0)
	latency = func() (time.Duration, error) {
		id++
		began := time.Now()
		confirmation, err := publish(id)
		if err != nil {
			return 0, err
		}
		took, err := untilStored(ctx, consumer, file, began, id)
		if err != nil {
			return 0, err
		}
		_, err = confirmation.WaitContext(ctx)
		return took, err
	}
	if _, err := latency(); err != nil {
		stop()
		return nil, nil, err
	}
	return latency, stop, nil
}

// calmly measures one round at a low load: fifty events a second.
func (b *bench) calmly(measure func() (time.Duration, error)) (l load, err error) {
	calm := time.NewTicker(20 * time.Millisecond)
	defer calm.Stop()
	for range b.scale(20_000) / 100 {
		<-calm.C
		d, err := measure()
		if err != nil {
			return l, err
		}
		l.latencies = append(l.latencies, d)
	}
	slices.Sort(l.latencies)
	return l, nil
}

// compareTimes makes a result of milliseconds, of ours and of the floor; lower is better.
func compareTimes(name string, sides [2][]float64, aim float64) result {
	median, low, high := ratios(sides[0], sides[1])
	return result{path: name, ratio: median, low: low, high: high, aim: fmt.Sprintf("≤ %.1f", aim), met: median <= aim,
		ours: fmt.Sprintf("%.2f ms", medianOf(sides[0])), floor: fmt.Sprintf("%.2f ms", medianOf(sides[1]))}
}

// untilStored returns how long it took from began until a consumer reported the commit of
// the platform, and checks that the platform is stored.
func untilStored(ctx context.Context, consumer *program, file string, began time.Time, id int32) (time.Duration, error) {
	if err := consumer.log.wait(ctx, fmt.Sprintf(" id=%d ", id)); err != nil {
		return 0, err
	}
	latency := time.Since(began)
	db, err := sql.Open("sqlite3", "file:"+file+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var stored bool
	err = db.QueryRowContext(ctx, `SELECT COUNT(*) FROM platforms WHERE external_id = ?`, id).Scan(&stored)
	if err == nil && !stored {
		err = fmt.Errorf("platform %d is not there", id)
	}
	return latency, err
}

// publishFloor publishes a platform, which the broker is going to confirm.
type publishFloor func(id int32) (*amqp.DeferredConfirmation, error)

// startConsumeFloor starts the bare consumer on a durable quorum queue, and
// returns what publishes to it. Stop ends both.
func (b *bench) startConsumeFloor(ctx context.Context, file string, env []string) (consumer *program, publish publishFloor, stop func(), err error) {
	name := filepath.Base(file)
	connection, err := amqp.Dial(b.broker)
	if err != nil {
		return nil, nil, nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, nil, nil, err
	}
	if _, err := channel.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return nil, nil, nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, nil, nil, err
	}
	consumer, err = b.startConsumer(ctx, file, name, env)
	if err != nil {
		connection.Close()
		return nil, nil, nil, err
	}
	publish = func(id int32) (*amqp.DeferredConfirmation, error) {
		return channel.PublishWithDeferredConfirmWithContext(ctx, "", name, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, `{"Id":%d,"Name":"platform %d","Event":"Platform_Published"}`, id, id)})
	}
	return consumer, publish, func() {
		consumer.stop()
		_, _ = channel.QueueDelete(name, false, false, false)
		connection.Close()
	}, nil
}

// startConsumer starts the bare consumer as a separate process.
func (b *bench) startConsumer(ctx context.Context, file, queue string, env []string) (*program, error) {
	db, err := openCommands(file) // so that the file exists when it is read
	if err != nil {
		return nil, err
	}
	db.Close()
	return b.launchFloor(append(env, "COMMANDS_QUEUE="+queue), "consume", file)
}

// measureConsume measures how fast events that wait in the queue are stored.
func measureConsume(ctx context.Context, b *bench) ([]result, error) {
	events := b.scale(100_000)
	consume := func(ours bool) func() (float64, error) {
		return func() (float64, error) {
			file, env := b.queue("consume")
			queue := env[2][len("COMMANDS_QUEUE="):]
			startService := func() (*program, error) {
				return b.start(ctx, "commandsservice", "/livez", append(env, "PLATFORMS_GRPC_TARGET=127.0.0.1:1"))
			}
			commands, err := startService() // declares the queue
			if err != nil {
				return 0, err
			}
			if err := eventually(ctx, "the queue is there", func() bool { return b.queueExists(queue) }); err != nil {
				commands.stop()
				return 0, err
			}
			commands.stop()
			if err := b.publishMany(ctx, queue, events); err != nil {
				return 0, err
			}
			var consumer *program
			if ours {
				consumer, err = startService()
			} else {
				file += "-floor"
				consumer, err = b.startConsumer(ctx, file, queue, env)
			}
			if err != nil {
				return 0, err
			}
			defer consumer.stop()
			return rateOfRows(ctx, file, events)
		}
	}
	a, f, err := b.inTurns(consume(true), consume(false))
	if err != nil {
		return nil, err
	}
	return []result{compare(fmt.Sprintf("consume %d events", events), "/s", a, f, 0.85)}, nil
}

func (b *bench) queueExists(name string) bool {
	connection, err := amqp.Dial(b.broker)
	if err != nil {
		return false
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return false
	}
	_, err = channel.QueueDeclarePassive(name, true, false, false, false, nil)
	return err == nil
}

func (b *bench) publishMany(ctx context.Context, queue string, events int) error {
	connection, err := amqp.Dial(b.broker)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	var last *amqp.DeferredConfirmation
	for id := 1; id <= events; id++ {
		last, err = channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, ContentType: "application/json", Type: "Platform_Published", AppId: "platformservice",
			MessageId: fmt.Sprint("bench-", id), Timestamp: time.Now(),
			Body: fmt.Appendf(nil, `{"Id":%d,"Name":"platform %d","Event":"Platform_Published"}`, id, id)})
		if err != nil {
			return err
		}
		if id%1000 == 0 {
			if _, err := last.WaitContext(ctx); err != nil {
				return err
			}
		}
	}
	_, err = last.WaitContext(ctx)
	return err
}

// rateOfRows returns the rows a second from the first to the last.
func rateOfRows(ctx context.Context, file string, rows int) (float64, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var began time.Time
	first := 0
	deadline := time.Now().Add(10 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		var n int
		// Not a count of all rows: that would use the processor that is measured.
		err := db.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM platforms`).Scan(&n)
		if err == nil && n > 0 && first == 0 {
			began, first = time.Now(), n
		}
		if err == nil && n >= rows {
			return float64(n-first) / time.Since(began).Seconds(), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
	return 0, fmt.Errorf("the rows did not all arrive")
}

// measureBackfill measures a CommandsService that starts empty.
func measureBackfill(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for _, full := range []int{10_000, 1_000_000} {
		rows := b.scale(full)
		file, err := b.filled(ctx, rows)
		if err != nil {
			return nil, err
		}
		grpcAddr := freeAddr()
		platforms, err := b.start(ctx, "platformservice", "/api/platforms/1",
			[]string{noBroker, "DATABASE_URL=sqlite:" + file, "PLATFORMS_GRPC_ADDR=" + grpcAddr, "LOG_LEVEL=warn"})
		if err != nil {
			return nil, err
		}
		platformsBefore := platforms.memory("VmRSS")
		growth := 0.0
		ours := func() (float64, error) {
			target, env := b.queue("backfill")
			commands, err := b.start(ctx, "commandsservice", "/livez", append(env, noBroker, "PLATFORMS_GRPC_TARGET="+grpcAddr))
			if err != nil {
				return 0, err
			}
			defer commands.stop()
			before := commands.memory("VmRSS")
			rate, err := rateOfRows(ctx, target, rows)
			growth = max(growth, commands.memory("VmHWM")-before)
			return rate, err
		}
		floor := func() (float64, error) {
			target, env := b.queue("backfill-floor")
			db, err := openCommands(target)
			if err != nil {
				return 0, err
			}
			db.Close()
			p, err := b.launchFloor(env, "backfill", file, target)
			if err != nil {
				return 0, err
			}
			defer p.stop()
			rate, err := rateOfRows(ctx, target, rows)
			return rate, cmp.Or(err, p.Wait(ctx))
		}
		a, f, err := b.inTurns(ours, floor)
		growthOfServer := platforms.memory("VmHWM") - platformsBefore
		platforms.stop()
		if err != nil {
			return nil, err
		}
		results = append(results, compare(fmt.Sprintf("backfill of %d", rows), "rows/s", a, f, 0.75),
			result{path: fmt.Sprintf("backfill of %d: memory growth", rows), floor: "–", aim: "< 64 MiB",
				ours: fmt.Sprintf("%.0f and %.0f MiB", growthOfServer, growth), met: max(growthOfServer, growth) < 64})
	}
	return results, nil
}

// measureSync measures a POST in stage 02, which calls CommandsService, and in final,
// which does not, while CommandsService is healthy, slow and down.
func measureSync(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for _, state := range []string{"healthy", "slow (200 ms)", "down"} {
		commands := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if state != "healthy" {
				select {
				case <-time.After(200 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
			w.WriteHeader(http.StatusOK)
		}))
		url := commands.URL
		if state == "down" {
			commands.Close()
		}
		for _, name := range []string{"02-http-sync/platformservice", "platformservice"} {
			url, stage := url, "02"
			if name == "platformservice" {
				url, stage = "", "final"
			}
			p, err := b.start(ctx, name, "/api/platforms", []string{noBroker, "COMMANDS_SERVICE_URL=" + url,
				"DATABASE_URL=sqlite:" + filepath.Join(b.dir, fmt.Sprintf("sync-%s-%d.db", stage, len(results)))})
			if err != nil {
				commands.Close()
				return nil, err
			}
			l, err := drive(ctx, 4, b.duration(), http.StatusCreated, post(ctx, p.addr))
			p.stop()
			if err != nil {
				commands.Close()
				return nil, err
			}
			results = append(results, result{path: fmt.Sprintf("POST in %s, CommandsService %s", stage, state), floor: "–", aim: "–",
				ours: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", l.percentile(0.5).Seconds()*1000, l.percentile(0.99).Seconds()*1000)})
		}
		commands.Close()
	}
	return results, nil
}

// measureStart measures cmd/microcomm from its start until it serves, and its
// memory when idle.
func measureStart(ctx context.Context, b *bench) ([]result, error) {
	var took, memory []float64
	for range b.rounds {
		began := time.Now()
		p, err := b.start(ctx, "microcomm", "/api/c/platforms", nil)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(began).Seconds()*1000)
		memory = append(memory, p.memory("VmRSS"))
		p.stop()
	}
	return []result{
		{path: "microcomm: start to ready", ours: fmt.Sprintf("%.0f ms", medianOf(took)), floor: "–", aim: "< 300 ms", met: medianOf(took) < 300},
		{path: "microcomm: idle memory", ours: fmt.Sprintf("%.0f MiB", medianOf(memory)), floor: "–", aim: "< 40 MiB", met: medianOf(memory) < 40},
	}, nil
}
