//go:build drills

package main

import (
	"os"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

// TestDrills runs the short form of every drill of final. It keeps a processor busy for
// minutes, so it has a build tag, which go tool lab test final sets.
func TestDrills(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	s, err := findStage(root, "final")
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := build(t.Context(), s, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	broker := sharedBroker(t)
	for _, what := range withKeys(forStage(drills(), s.Name)) {
		name := what.name
		if what.keys {
			name += "-keys"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if what.killsBroker && rabbitmq.Find() == "" {
				t.Skip("it kills the broker, and there is no rabbitmq-server on this machine")
			}
			var progress strings.Builder
			d := &driller{root: root, dir: t.TempDir(), options: options{short: true, broker: broker}, progress: &progress}
			rep := d.drill(t.Context(), compiled, what)
			switch {
			case rep.Skipped != "":
				t.Skip(rep.Skipped)
			case !rep.Passed:
				rep.write(t.Output())
				t.Errorf("%s failed; how it went:\n%s", name, progress.String())
			default:
				t.Log(rep.summary())
			}
		})
	}
}

// sharedBroker returns the URL of the broker for the drills that do not kill it: the one
// at RABBITMQ_URL, unless that asks for TLS, or else one that it starts. Without a
// RabbitMQ on this machine it skips them.
func sharedBroker(t *testing.T) string {
	if url := os.Getenv("RABBITMQ_URL"); strings.HasPrefix(url, "amqp://") {
		return url
	}
	node, err := rabbitmq.StartNode(t.Context(), t.Output())
	if err != nil && rabbitmq.Find() == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Stop)
	return node.URL()
}
