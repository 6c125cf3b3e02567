package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// asyncAPI reads the document, as JSON values, with its references in place.
func asyncAPI(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.UnmarshalStrict(text, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// at follows names through a document and its references.
func at(t *testing.T, document map[string]any, names ...string) map[string]any {
	t.Helper()
	node := document
	for _, name := range names {
		next, ok := node[name].(map[string]any)
		if !ok {
			t.Fatalf("the document has no %s in %v", name, names)
		}
		if reference, ok := next["$ref"].(string); ok {
			next = at(t, document, strings.Split(strings.TrimPrefix(reference, "#/"), "/")...)
		}
		node = next
	}
	return node
}

// schema compiles a part of the document.
func schema(t *testing.T, node map[string]any) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // AsyncAPI's
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", node); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestAsyncAPIDocument holds the document against AsyncAPI's own schema, which is
// schemas/3.0.0-without-$id.json of the npm package @asyncapi/specs 6.11.1.
func TestAsyncAPIDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "asyncapi", "3.0.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	official := schema(t, decoded(t, text).(map[string]any))
	document := asyncAPI(t)
	if err := official.Validate(document); err != nil {
		t.Error(err)
	}
	// The schema doesn't look behind references.
	for name := range at(t, document, "operations") {
		at(t, document, "operations", name, "channel")
	}
	for name := range at(t, document, "channels") {
		for message := range at(t, document, "channels", name, "messages") {
			at(t, document, "channels", name, "messages", message)
		}
	}
	document["channels"].(map[string]any)["platforms"].(map[string]any)["bindings"].(map[string]any)["amqp"].(map[string]any)["is"] = "topic"
	if official.Validate(document) == nil {
		t.Error("it doesn't notice a wrong binding")
	}
}

func TestEventsFitTheDocument(t *testing.T) {
	document := asyncAPI(t)
	payload := schema(t, at(t, document, "components", "schemas", "PlatformPublished"))
	for text, fits := range map[string]bool{
		`{"Id":4,"Name":"Docker","Event":"Platform_Published"}`:                          true, // as chapter 06 and final write it
		`{"Id":4,"Name":"caf\u00E9 \u0026 \u0022co\u0022","Event":"Platform_Published"}`: true, // as System.Text.Json escapes it
		`{"Event":"Platform_Published","Name":"Docker","Id":4,"Cost":"Free"}`:            true,
		`{"id":4,"name":"Docker","event":"Platform_Published"}`:                          false,
		`{"Id":0,"Name":"Docker","Event":"Platform_Published"}`:                          false,
		`{"Id":4,"Name":" ","Event":"Platform_Published"}`:                               false,
		`{"Id":4,"Name":"Docker","Event":"Platform_Deleted"}`:                            false,
		`{"Name":"Docker","Event":"Platform_Published"}`:                                 false,
	} {
		if err := payload.Validate(decoded(t, []byte(text))); (err == nil) != fits {
			t.Errorf("%s: %v", text, err)
		}
	}
	// What System.Text.Json 4.0.1.1 (.NET Core 3.1.2), with its default options, made of
	// the .NET service's PlatformPublishedDto. Neither that service nor a broker was involved.
	recorded, err := os.ReadFile(filepath.Join("testdata", "dotnet-events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for event := range strings.Lines(string(recorded)) {
		if err := payload.Validate(decoded(t, []byte(event))); err != nil {
			t.Errorf("%s: %v", event, err)
		}
	}
	for name := range at(t, document, "components", "messages") {
		message := at(t, document, "components", "messages", name)
		examples, _ := message["examples"].([]any)
		for _, example := range examples {
			if err := schema(t, at(t, document, "components", "messages", name, "payload")).Validate(example.(map[string]any)["payload"]); name != "DeadLetter" && err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
		}
	}
}

// TestEventsOnTheWire starts the services at a broker, and holds the document against
// what they declare there and what arrives.
func TestEventsOnTheWire(t *testing.T) {
	t.Parallel()
	document := asyncAPI(t)
	url := startBroker(t)
	for stage, parts := range map[string]struct {
		channel string
		message string
		queues  []string
	}{
		"06-rabbitmq": {"trigger", "PlatformPublishedBefore", nil},
		"final":       {"platforms", "PlatformPublished", []string{"commandsQueue", "deadLetters"}},
	} {
		t.Run(stage, func(t *testing.T) {
			programs := build(t, stage)
			platforms := service{name: "platformservice", database: filepath.Join(t.TempDir(), "platforms.db")}
			platforms.start(t, programs, "RABBITMQ_URL="+url)
			commands := service{name: "commandsservice", database: filepath.Join(t.TempDir(), "commands.db")}
			commands.start(t, programs, "RABBITMQ_URL="+url)
			platforms.waitFor(t, "/api/platforms", http.StatusOK)

			exchange := at(t, document, "channels", parts.channel, "bindings", "amqp", "exchange")
			eventually(t, func() error {
				return onChannel(url, func(c *amqp.Channel) error { return declareExchange(c, exchange, true, false) })
			})
			if err := onChannel(url, func(c *amqp.Channel) error { return declareExchange(c, exchange, false, false) }); err != nil {
				t.Errorf("the exchange differs: %v", err)
			}
			if onChannel(url, func(c *amqp.Channel) error { return declareExchange(c, exchange, false, true) }) == nil {
				t.Error("the broker doesn't mind whether the exchange is durable")
			}
			for _, name := range parts.queues {
				channel := at(t, document, "channels", name)
				eventually(t, func() error {
					return onChannel(url, func(c *amqp.Channel) error { return declareQueue(c, channel, true, false) })
				})
				if err := onChannel(url, func(c *amqp.Channel) error { return declareQueue(c, channel, false, false) }); err != nil {
					t.Errorf("%s differs: %v", name, err)
				}
				if onChannel(url, func(c *amqp.Channel) error { return declareQueue(c, channel, false, true) }) == nil {
					t.Errorf("the broker doesn't mind the arguments of %s", name)
				}
			}
			delivery := receive(t, url, exchange["name"].(string), platforms)
			compare(t, document, parts.message, delivery)
			if stage == "final" {
				headers, _ := json.Marshal(deadLetter(t, url, exchange["name"].(string), at(t, document, "channels", "deadLetters")["address"].(string)))
				if err := schema(t, at(t, document, "components", "messages", "DeadLetter", "headers")).Validate(decoded(t, headers)); err != nil {
					t.Errorf("headers of a dead letter %s: %v", headers, err)
				}
			}
		})
	}
}

// onChannel runs f on a channel, which an error of the broker ends.
func onChannel(url string, f func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	return f(channel)
}

// declareExchange declares what a binding says. A passive one only asks whether it
// exists; with another durability the broker refuses it.
func declareExchange(c *amqp.Channel, binding map[string]any, passive, otherwise bool) error {
	declare := c.ExchangeDeclare
	if passive {
		declare = c.ExchangeDeclarePassive
	}
	return declare(binding["name"].(string), binding["type"].(string), binding["durable"].(bool) != otherwise, binding["autoDelete"].(bool), false, false, nil)
}

// declareQueue does the same for the queue of a channel. Otherwise means with another limit.
func declareQueue(c *amqp.Channel, channel map[string]any, passive, otherwise bool) error {
	binding := channel["bindings"].(map[string]any)["amqp"].(map[string]any)["queue"].(map[string]any)
	arguments := amqp.Table{}
	for name, value := range channel["x-arguments"].(map[string]any) {
		if number, ok := value.(float64); ok {
			value = int32(number)
			if otherwise {
				value = int32(number) - 1
			}
		}
		arguments[name] = value
	}
	declare := c.QueueDeclare
	if passive {
		declare = c.QueueDeclarePassive
	}
	_, err := declare(binding["name"].(string), binding["durable"].(bool), binding["autoDelete"].(bool), binding["exclusive"].(bool), false, arguments)
	return err
}

// receive creates a platform, and returns the event as any subscriber gets it.
func receive(t *testing.T, url, exchange string, platforms service) amqp.Delivery {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err == nil {
		err = channel.QueueBind(queue.Name, "", exchange, false, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := channel.ConsumeWithContext(t.Context(), queue.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	create := func() error {
		header := http.Header{"Content-Type": {"application/json"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}
		got, err := send(t.Context(), http.MethodPost, platforms.url+"/api/platforms", header, `{"name":"caf\u00e9 & \"co\"","publisher":"p","cost":"c"}`)
		if err == nil && got.status != http.StatusCreated {
			err = fmt.Errorf("%d %s", got.status, got.body)
		}
		return err
	}
	var found amqp.Delivery
	eventually(t, func() error { // chapter 06 publishes nothing before it is connected
		if err := create(); err != nil {
			return err
		}
		for {
			select {
			case delivery, ok := <-deliveries:
				if !ok {
					t.Fatal("the connection to the broker is lost")
				}
				if found = delivery; strings.Contains(string(found.Body), "caf") {
					return nil
				}
			case <-time.After(time.Second):
				return errors.New("no event of the platform")
			}
		}
	})
	return found
}

// deadLetter publishes an event that cannot be handled, and returns the headers with
// which it is set aside.
func deadLetter(t *testing.T, url, exchange, queue string) (headers amqp.Table) {
	t.Helper()
	// CommandsService's queue exists before it is bound. Until then the event is lost, even
	// though the test's own queue takes it, so each attempt sends another one.
	eventually(t, func() error {
		return onChannel(url, func(c *amqp.Channel) error {
			if err := publish(t.Context(), c, exchange, "{"); err != nil {
				return err
			}
			got, found, err := c.Get(queue, true)
			if err == nil && !found {
				err = errors.New("no dead letter")
			}
			headers = got.Headers
			return err
		})
	})
	return headers
}

// publish publishes an event, and returns when the broker has it.
func publish(ctx context.Context, c *amqp.Channel, exchange, body string) error {
	if err := c.Confirm(false); err != nil {
		return err
	}
	const mandatory, immediate = false, false
	sent, err := c.PublishWithDeferredConfirmWithContext(ctx, exchange, "", mandatory, immediate, amqp.Publishing{ContentType: "application/json", Body: []byte(body)})
	if err != nil {
		return err
	}
	_, err = sent.WaitContext(ctx)
	return err
}

// compare holds a message that was received against the document.
func compare(t *testing.T, document map[string]any, name string, got amqp.Delivery) {
	t.Helper()
	message := at(t, document, "components", "messages", name)
	if err := schema(t, at(t, document, "components", "messages", name, "payload")).Validate(decoded(t, got.Body)); err != nil {
		t.Errorf("%s: %v", got.Body, err)
	}
	if got.RoutingKey != "" || got.ContentType != message["contentType"] {
		t.Errorf("routing key %q, content type %q", got.RoutingKey, got.ContentType)
	}
	if message["headers"] == nil {
		if len(got.Headers) > 0 {
			t.Errorf("headers that the document doesn't name: %v", got.Headers)
		}
		return
	}
	headers, _ := json.Marshal(got.Headers)
	strict := at(t, document, "components", "messages", name, "headers")
	strict["additionalProperties"] = false
	if err := schema(t, strict).Validate(decoded(t, headers)); err != nil {
		t.Errorf("headers %s: %v", headers, err)
	}
	properties, _ := json.Marshal(map[string]any{
		"content_type": got.ContentType, "delivery_mode": got.DeliveryMode, "type": got.Type,
		"app_id": got.AppId, "message_id": got.MessageId, "timestamp": got.Timestamp,
	})
	if err := schema(t, at(t, document, "components", "messages", name, "x-properties")).Validate(decoded(t, properties)); err != nil {
		t.Errorf("properties %s: %v", properties, err)
	}
}

// eventually waits until attempt succeeds.
func eventually(t *testing.T, attempt func() error) {
	t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	late := time.After(2 * patience)
	for {
		err := attempt()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// startBroker starts a broker by lab, and returns its URL. It is the test's own: the
// names in the document are those of real queues.
func startBroker(t *testing.T) string {
	t.Helper()
	if os.Getenv("NO_BROKER") != "" {
		t.Skip("NO_BROKER is set")
	}
	free := freeAddresses(t, 2)
	_, port, _ := net.SplitHostPort(free[0])
	_, page, _ := net.SplitHostPort(free[1])
	url := "amqp://localhost:" + port + "/"
	lab := filepath.Join(t.TempDir(), "lab.exe")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", lab, "./tools/lab")
	build.Dir = filepath.Join(root, "docs")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	ctx, cancel := context.WithCancel(context.Background())
	broker := exec.CommandContext(ctx, lab, "broker")
	broker.Env = append(os.Environ(), "RABBITMQ_URL="+url, "RABBITMQ_MANAGEMENT_ADDR=localhost:"+page)
	broker.Dir, broker.Stdout, broker.Stderr = build.Dir, t.Output(), t.Output()
	broker.Cancel = func() error { return broker.Process.Signal(os.Interrupt) }
	broker.WaitDelay = patience
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process, which the cleanup waits for
		defer close(ended)
		_ = broker.Wait()
	}()
	t.Cleanup(func() { cancel(); <-ended })
	late := time.After(5 * time.Minute) // it may install one
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := amqp.Dial(url)
		if err == nil {
			conn.Close()
			return url
		}
		select {
		case <-poll.C:
		case <-ended:
			t.Fatal("lab broker has ended: ", err)
		case <-late:
			t.Fatal(err)
		}
	}
}
