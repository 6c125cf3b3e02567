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
// is deleted, and killed; a RabbitMQ node of three is down for a long time, and another
// one loses its disk; everything is restarted. Clients use the Ingress, as they do in
// production.
func cluster(r *run) {
	r.mayBreakCluster()
	if r.broker != nil {
		r.broker.Stop() // the cluster has its own
		r.broker = nil
	}
	ingress := get(startFront(r.ctx))
	defer ingress.close()
	r.platforms = []*service{{name: "platformservice", url: ingress.url}}
	r.commands = []*service{{name: "commandsservice", url: ingress.url}}
	r.settled()
	r.ignoreExisting()
	r.arrivals = watchArrivals(r.ctx, r.client, r.commands)
	// Platforms of an earlier run still exist, so the names have a prefix of this one.
	prefix := "drill-" + time.Now().UTC().Format("20060102T150405")
	r.startLoad(loadConfig{prefix: prefix, clients: 8, rate: 50})
	r.phase(before)
	r.lasts(5 * time.Second)
	r.deletePods("pods deleted")
	r.deletePods("pods killed", "--force", "--grace-period=0")
	r.loseNode()
	r.loseDisk()
	r.phase("rolling restart")
	r.kubectl("rollout", "restart", "deployment,statefulset", "-l", partOf)
	r.settled()
	r.phase(after)
	r.lasts(5 * time.Second)
	r.finish()
}

// mayBreakCluster skips the drill unless the user allows it to break this cluster.
func (r *run) mayBreakCluster() {
	name, err := kubectl(r.ctx, "config", "current-context")
	if err != nil {
		must(fmt.Errorf("%w: %w", errSkipped, err))
	}
	if os.Getenv("DRILL_CLUSTER") != name {
		must(fmt.Errorf("%w: it breaks what runs in the context %s; DRILL_CLUSTER=%[2]s allows that", errSkipped, name))
	}
}

// ignoreExisting leaves out what earlier runs and the seed data have stored.
func (r *run) ignoreExisting() {
	existing := slices.Concat(
		get(r.client.list(r.ctx, r.platforms, platformsPath)),
		get(r.client.list(r.ctx, r.commands, commandsPath)))
	for _, p := range existing {
		r.ignore[p.Name] = true
	}
}

// deletePods deletes each pod in turn. The next one is deleted when all are ready again.
func (r *run) deletePods(phase string, how ...string) {
	r.phase(phase)
	pods := strings.Fields(r.kubectl("get", "pods", "-l", partOf, "--field-selector=status.phase=Running", "-o", "name"))
	for _, pod := range pods {
		r.progress.say("%s: %s", phase, pod)
		r.kubectl(slices.Concat([]string{"delete", pod}, how)...)
		r.settled()
	}
	r.tell(strings.ToUpper(phase[:1])+phase[1:], "%d", len(pods))
}

// loseNode stops the third RabbitMQ node for some time.
func (r *run) loseNode() {
	r.phase("RabbitMQ node lost")
	if nodes := r.kubectl("get", "statefulset", "rabbitmq", "-o", "jsonpath={.status.readyReplicas}"); nodes != "3" {
		must(fmt.Errorf("RabbitMQ has %q nodes, want the 3 of the overlays drill and production", nodes))
	}
	r.scaled("statefulset/rabbitmq", "2", "3", func() { r.lasts(30 * time.Second) })
	r.settled()
}

// loseDisk deletes the disk of the first RabbitMQ node, under its running pod, while
// CommandsService is stopped and the events wait in its queue. A backfill would hide
// that they are lost, so they are counted before it starts again.
func (r *run) loseDisk() {
	r.phase("RabbitMQ disk lost")
	replicas := r.kubectl("get", "deployment", "commands-depl", "-o", "jsonpath={.spec.replicas}")
	r.scaled("deployment/commands-depl", "0", replicas, r.deleteDisk)
	r.settled()
}

// scaled lets act run while object has that many replicas, and then gives it as many
// as before, even after an interruption.
func (r *run) scaled(object, replicas, before string, act func()) {
	defer func() {
		_, err := kubectl(context.WithoutCancel(r.ctx), "scale", object, "--replicas="+before)
		must(err)
	}()
	r.kubectl("scale", object, "--replicas="+replicas)
	act()
}

func (r *run) deleteDisk() {
	before := r.gather()
	// The volume is deleted as soon as no pod uses it.
	r.kubectl("delete", "persistentvolumeclaim", "data-rabbitmq-0", "--wait=false")
	r.kubectl("delete", "pod", "rabbitmq-0")
	r.settled()
	after := get(waitingEvents(r.ctx))
	if after < before { // clients keep posting, so it can only have grown
		must(fmt.Errorf("%d events waited before the disk was deleted, and %d after it", before, after))
	}
	r.tell("Events that waited while a RabbitMQ node lost its disk", "%d, then %d", before, after)
}

// gather waits until some hundred events wait in CommandsService's queue, and counts
// them. No consumer is left then.
func (r *run) gather() int {
	ctx, cancel := context.WithTimeout(r.ctx, settleTimeout)
	defer cancel()
	for {
		waiting := get(waitingEvents(ctx))
		if waiting > 300 {
			return waiting
		}
		if err := r.wait(ctx, time.Second); err != nil {
			must(fmt.Errorf("wait for events in the queue (%d): %w", waiting, err))
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

// settled waits until all pods exist and are ready, for some seconds on end: a change
// is not visible at once.
func (r *run) settled() {
	ctx, cancel := context.WithTimeout(r.ctx, settleTimeout)
	defer cancel()
	for ready := 0; ready < 3; {
		state := get(unready(ctx))
		if ready++; state != "" {
			ready = 0
		}
		if err := r.wait(ctx, time.Second); err != nil {
			must(fmt.Errorf("wait for the pods (%s): %w", state, err))
		}
	}
}

// unready names the objects whose pods are not all ready, or returns "".
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

// kubectl runs kubectl as a step, and returns what it prints.
func (r *run) kubectl(args ...string) string { return get(kubectl(r.ctx, args...)) }

// kubectl runs kubectl and returns what it prints.
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
