package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/process"
)

// gatewayHost is the host that the Ingress has rules for.
const gatewayHost = "microcomm.com"

// How long one call of kubectl may take, and how long all pods may take to be ready again.
const (
	kubectlTimeout = 2 * time.Minute
	settleTimeout  = 10 * time.Minute
)

// partOf selects all that was deployed.
const partOf = "app.kubernetes.io/part-of=microcomm"

// cluster breaks what runs on the cluster of kubectl's current context: each pod
// is deleted, and killed; a RabbitMQ node of three is down for long, and another
// one loses its disk; everything is restarted. Clients come by the Ingress, as they
// do in production.
func cluster(ctx context.Context, r *run) error {
	name, err := kubectl(ctx, "config", "current-context")
	if err != nil {
		return fmt.Errorf("%w: %w", errSkipped, err)
	}
	if os.Getenv("DRILL_CLUSTER") != name {
		return fmt.Errorf("%w: it breaks what runs in the context %s; DRILL_CLUSTER=%[2]s allows that", errSkipped, name)
	}
	if r.broker != nil {
		r.broker.Stop() // the cluster has its own
		r.broker = nil
	}
	ingress, err := startFront(ctx)
	if err != nil {
		return err
	}
	defer ingress.close()
	r.platforms = []*service{{name: "platformservice", url: ingress.url}}
	r.commands = []*service{{name: "commandsservice", url: ingress.url}}
	if err := r.settled(ctx); err != nil {
		return err
	}
	if err := r.ignoreAllThatIsThere(ctx); err != nil {
		return err
	}
	r.arrivals = watchArrivals(ctx, r.client, r.commands)
	load := loadConfig{targets: []string{ingress.url}, clients: 8, rate: 50, keys: r.options.keys}
	// A name of its own: what an earlier run has left is still there.
	r.load = startLoad(ctx, load, "drill-"+time.Now().UTC().Format("20060102T150405"))
	r.loads = append(r.loads, r.load)
	r.progress.follow(r.load)
	r.phase(before)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	if err := r.deletePods(ctx, "pods deleted"); err != nil {
		return err
	}
	if err := r.deletePods(ctx, "pods killed", "--force", "--grace-period=0"); err != nil {
		return err
	}
	if err := r.loseNode(ctx); err != nil {
		return err
	}
	if err := r.loseDisk(ctx); err != nil {
		return err
	}
	r.phase("rolling restart")
	if _, err := kubectl(ctx, "rollout", "restart", "deployment,statefulset", "-l", partOf); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}

// ignoreAllThatIsThere leaves out what earlier runs and the seed data have left.
func (r *run) ignoreAllThatIsThere(ctx context.Context) error {
	for _, list := range []struct {
		of   []*service
		path string
	}{{r.platforms, platformsPath}, {r.commands, commandsPath}} {
		there, err := r.client.list(ctx, list.of, list.path)
		if err != nil {
			return err
		}
		for _, p := range there {
			r.ignore[p.Name] = true
		}
	}
	return nil
}

// deletePods deletes each pod in turn. The next one is deleted when all are ready again.
func (r *run) deletePods(ctx context.Context, phase string, how ...string) error {
	r.phase(phase)
	pods, err := kubectl(ctx, "get", "pods", "-l", partOf, "--field-selector=status.phase=Running", "-o", "name")
	if err != nil {
		return err
	}
	names := strings.Fields(pods)
	for _, pod := range names {
		r.progress.say("%s: %s", phase, pod)
		if _, err := kubectl(ctx, slices.Concat([]string{"delete", pod}, how)...); err != nil {
			return err
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	r.tell(strings.ToUpper(phase[:1])+phase[1:], "%d", len(names))
	return nil
}

// loseNode takes the third RabbitMQ node away for some time.
func (r *run) loseNode(ctx context.Context) error {
	r.phase("RabbitMQ node lost")
	nodes, err := kubectl(ctx, "get", "statefulset", "rabbitmq", "-o", "jsonpath={.status.readyReplicas}")
	if err != nil {
		return err
	}
	if nodes != "3" {
		return fmt.Errorf("RabbitMQ has %q nodes, want the 3 of the overlays drill and production", nodes)
	}
	scale := func(ctx context.Context, n string) error {
		_, err := kubectl(ctx, "scale", "statefulset", "rabbitmq", "--replicas="+n)
		return err
	}
	err = scale(ctx, "2")
	if err == nil {
		err = r.lasts(ctx, r.times(30*time.Second))
	}
	// Back again, also after an interruption.
	if err := errors.Join(err, scale(context.WithoutCancel(ctx), "3")); err != nil {
		return err
	}
	return r.settled(ctx)
}

// loseDisk deletes the disk of the first RabbitMQ node, under its running pod, while
// CommandsService is stopped and the events wait in its queue. A backfill would hide
// that they are lost, so they are counted before it starts again.
func (r *run) loseDisk(ctx context.Context) error {
	r.phase("RabbitMQ disk lost")
	scale := func(ctx context.Context, n string) error {
		_, err := kubectl(ctx, "scale", "deployment", "commands-depl", "--replicas="+n)
		return err
	}
	replicas, err := kubectl(ctx, "get", "deployment", "commands-depl", "-o", "jsonpath={.spec.replicas}")
	if err != nil {
		return err
	}
	err = scale(ctx, "0")
	if err == nil {
		err = r.deleteDisk(ctx)
	}
	// Back again, also after an interruption.
	if err := errors.Join(err, scale(context.WithoutCancel(ctx), replicas)); err != nil {
		return err
	}
	return r.settled(ctx)
}

func (r *run) deleteDisk(ctx context.Context) error {
	before, err := r.gather(ctx)
	if err != nil {
		return err
	}
	// The volume is deleted as soon as no pod uses it.
	if _, err := kubectl(ctx, "delete", "persistentvolumeclaim", "data-rabbitmq-0", "--wait=false"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "pod", "rabbitmq-0"); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	after, err := waitingEvents(ctx)
	if err != nil {
		return err
	}
	if after < before { // clients go on, so it can only have grown
		return fmt.Errorf("%d events waited before the disk was deleted, and %d after it", before, after)
	}
	r.tell("Events that waited while a RabbitMQ node lost its disk", "%d, then %d", before, after)
	return nil
}

// gather waits until some hundred events wait in CommandsService's queue, and counts
// them. No consumer is left then.
func (r *run) gather(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		waiting, err := waitingEvents(ctx)
		if err != nil || waiting > 300 {
			return waiting, err
		}
		if err := r.lasts(ctx, time.Second); err != nil {
			return 0, fmt.Errorf("wait for events in the queue (%d): %w", waiting, err)
		}
	}
}

// waitingEvents counts the messages in CommandsService's queue. The error names a
// quorum queue that is not on all three nodes.
func waitingEvents(ctx context.Context) (int, error) {
	out, err := kubectl(ctx, "exec", "rabbitmq-1", "-c", "rabbitmq", "--",
		"rabbitmqctl", "-q", "--formatter", "json", "list_queues", "name", "type", "members", "messages")
	if err != nil {
		return 0, err
	}
	var queues []struct {
		Name, Type string
		Members    json.RawMessage // not a list for other types
		Messages   int
	}
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		return 0, fmt.Errorf("read what rabbitmqctl prints: %w", err)
	}
	waiting := -1
	for _, q := range queues {
		var members []string
		if !strings.Contains(q.Type, "quorum") {
			continue
		}
		if err := json.Unmarshal(q.Members, &members); err != nil {
			return 0, fmt.Errorf("read what rabbitmqctl prints of %s: %w", q.Name, err)
		}
		if len(members) != 3 {
			return 0, fmt.Errorf("queue %s is on %v, want three nodes", q.Name, members)
		}
		if q.Name == "commands.platforms" {
			waiting = q.Messages
		}
	}
	if waiting < 0 {
		return 0, errors.New("there is no queue commands.platforms")
	}
	return waiting, nil
}

// settled waits until all pods are there and ready, for some seconds on end:
// what has just been changed is not at once seen as changed.
func (r *run) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for ready, state := 0, ""; ready < 3; {
		var err error
		if state, err = unready(ctx); err != nil {
			return err
		}
		if ready++; state != "" {
			ready = 0
		}
		if err := r.lasts(ctx, time.Second); err != nil {
			return fmt.Errorf("wait for the pods (%s): %w", state, err)
		}
	}
	return nil
}

// unready says what is not as it should be, or nothing.
func unready(ctx context.Context) (string, error) {
	out, err := kubectl(ctx, "get", "deployments,statefulsets", "-l", partOf, "-o", "json")
	if err != nil {
		return "", err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name       string
				Generation int64
			}
			Spec   struct{ Replicas int }
			Status struct {
				ObservedGeneration                       int64
				Replicas, ReadyReplicas, UpdatedReplicas int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return "", fmt.Errorf("read kubectl's output: %w", err)
	}
	if len(list.Items) == 0 {
		return "", errors.New("nothing is deployed here: go tool lab deploy final --overlay drill")
	}
	var state []string
	for _, o := range list.Items {
		if s, n := o.Status, o.Spec.Replicas; s.ObservedGeneration < o.Metadata.Generation || s.Replicas != n || s.ReadyReplicas != n || s.UpdatedReplicas != n {
			state = append(state, fmt.Sprintf("%s: %d of %d ready", o.Metadata.Name, s.ReadyReplicas, n))
		}
	}
	return strings.Join(state, ", "), nil
}

// kubectl runs it and returns what it prints.
func kubectl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kubectlTimeout)
	defer cancel()
	out, err := process.Output(ctx, process.Command{Args: append([]string{"kubectl"}, args...)})
	return strings.TrimSpace(out), err
}

// front is a proxy on loopback that sends requests to the Ingress under the host
// that it has rules for.
type front struct {
	url    string
	server *http.Server
	served sync.WaitGroup
}

// startFront starts the proxy. INGRESS_URL is where the Ingress controller
// listens, when not at the address that the Ingress has.
func startFront(ctx context.Context) (*front, error) {
	address := os.Getenv("INGRESS_URL")
	if address == "" {
		ip, err := kubectl(ctx, "get", "ingress", "ingress-srv", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}")
		if err != nil {
			return nil, err
		}
		address = "http://" + ip
	}
	target, err := url.Parse(address)
	if err != nil || target.Host == "" {
		return nil, fmt.Errorf("the Ingress has no address, and INGRESS_URL is %q", os.Getenv("INGRESS_URL"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{url: "http://" + listener.Addr().String(), server: &http.Server{
		ReadHeaderTimeout: postTimeout,
		Handler: &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(target)
				p.Out.Host = gatewayHost
			},
			Transport: &http.Transport{MaxIdleConnsPerHost: 16, ResponseHeaderTimeout: postTimeout},
			ErrorLog:  log.New(io.Discard, "", 0), // its client gets a 502, which is judged
		},
	}}
	f.served.Go(func() { _ = f.server.Serve(listener) }) // until close
	return f, nil
}

func (f *front) close() {
	_ = f.server.Close()
	f.served.Wait()
}
