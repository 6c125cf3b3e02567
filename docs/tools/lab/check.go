package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

func checkVerb() verb {
	var options checkOptions
	v := verb{
		name:    "check",
		args:    "STAGE [EXERCISE]",
		summary: "judges your solution of an exercise, or tests a stage that is already running",
		about: `With an EXERCISE: its tests, on the stage as you have changed it. It says which items
of the exercise's acceptance hold, and what the tests report for the others. The tests are
not files of the stage: they are laid over it while they run. When all items hold, the
stage's own tests of what you have changed, except e2e, must pass as well. With --cluster
the tests of the exercise's cluster_test.go run instead, on the current kubectl context.

With a STAGE alone: its exercises, and how far you are. With URLs or --cluster: its e2e
tests, against the services at the URLs or those in the cluster: by its Ingress or its
Gateway, whichever there is, else by port-forwards. INGRESS_URL says where the controller
listens, when not at the address that the Ingress or Gateway has:
  go tool lab check 06 durable-queue
  go tool lab check 06 --platforms-url http://localhost:5000 \
    --commands-url http://localhost:6000`,
		run: func(ctx context.Context, l *lab, names []string) error { return check(ctx, l, options, names) },
	}
	v.flags.StringVar(&options.platforms, "platforms-url", "", "the `URL` of PlatformService")
	v.flags.StringVar(&options.commands, "commands-url", "", "the `URL` of CommandsService")
	v.flags.StringVar(&options.token, "token", "", "the `TOKEN` to send with each request, for services with access control")
	v.flags.StringVar(&options.host, "host", "", "the `NAME` for the Host header, for an Ingress that is reached by its address")
	v.flags.BoolVar(&options.cluster, "cluster", false, "test what is deployed to the current Kubernetes cluster")
	v.flags.StringVar(&options.namespace, "namespace", "", "the `NAME` of the namespace; default: that of the context")
	v.flags.StringVar(&options.report, "report", "", "send the result to the board at `URL`, which your instructor's lab class serves")
	v.flags.StringVar(&options.name, "name", "", "with --report: the `NAME` that the board shows; default: your user name")
	v.flags.BoolVar(&options.verbose, "v", false, "show everything that an exercise's tests print")
	return v
}

// checkOptions are the flags of check.
type checkOptions struct {
	platforms, commands, host string
	token                     string
	cluster                   bool
	namespace                 string
	verbose                   bool
	report, name              string // a board, and who reports
}

func check(ctx context.Context, l *lab, options checkOptions, names []string) error {
	at, err := l.findStage(names[0])
	if err != nil {
		return err
	}
	if options.cluster && options.platforms != "" {
		return usageError("check accepts --platforms-url or --cluster, not both")
	}
	switch {
	case options.report != "" && len(names) < 2:
		return usageError("--report is for the result of an exercise: name one")
	case options.report != "" && reportFault(options) != nil:
		return reportFault(options)
	case len(names) > 1 && options.platforms != "":
		return usageError("--platforms-url is for the e2e tests of a stage, not for an exercise")
	case len(names) > 1:
		return checkExercise(ctx, l, options, names[0], names[1])
	case !options.cluster && options.platforms == "":
		return l.showProgress(l.stages[at:at+1], false)
	case options.cluster:
		k, err := currentCluster(ctx, options.namespace)
		if err != nil {
			return err
		}
		return e2eOnCluster(ctx, l, k, l.stages[at], options.token)
	}
	return runE2E(ctx, l, l.stages[at], options.platforms, options.commands, options.host, options.token)
}

// e2eOnCluster runs the stage's e2e tests against the services in the cluster, by
// the Ingress or the Gateway, or by port-forwards when neither can be reached.
func e2eOnCluster(ctx context.Context, l *lab, k cluster, s repo.Stage, token string) error {
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there != s.Name {
		return fmt.Errorf("%s is not deployed to %s: go tool lab deploy %s", s.Name, k, s.Name)
	}
	if err := quorumQueues(ctx, l, k); err != nil {
		return err
	}
	in, err := k.entrance(ctx)
	if err != nil {
		return err
	}
	if in.url != "" {
		err := in.opens(ctx, 30*time.Second)
		if err == nil {
			fmt.Fprintf(l.out, "by the %s, at %s\n", in.kind, in.url)
			return runE2E(ctx, l, s, in.url, in.url, in.host, token)
		}
		if os.Getenv("INGRESS_URL") != "" || !errors.Is(err, errUnreachable) {
			return err
		}
	}
	if in.kind != "" {
		fmt.Fprintf(l.out, "by port-forwards: the %s is not reachable from here; INGRESS_URL says where its controller listens\n", in.kind)
	}
	platforms, stop, err := portForward(ctx, k, "platforms-clusterip-srv")
	if err != nil {
		return err
	}
	defer stop()
	commands, stop, err := portForward(ctx, k, "commands-clusterip-srv")
	if err != nil {
		return err
	}
	defer stop()
	return runE2E(ctx, l, s, platforms, commands, "", token)
}

// quorumQueues returns an error if a quorum queue has fewer members than RabbitMQ has
// nodes: its messages could be lost with a node's disk.
func quorumQueues(ctx context.Context, l *lab, k cluster) error {
	nodes, err := k.run(ctx, "", "get", "statefulset", "rabbitmq", "--ignore-not-found", "-o", "jsonpath={.spec.replicas}")
	if err != nil || nodes == "" {
		return err
	}
	out, err := k.run(ctx, "", "exec", "rabbitmq-0", "-c", "rabbitmq", "--",
		"rabbitmqctl", "-q", "--formatter", "json", "list_queues", "name", "type", "members")
	if err != nil {
		return err
	}
	var queues []struct {
		Name, Type string
		Members    json.RawMessage // not a list for other types
	}
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		return fmt.Errorf("read what rabbitmqctl prints: %w", err)
	}
	var errs []error
	number := 0
	for _, q := range queues {
		if !strings.Contains(q.Type, "quorum") {
			continue
		}
		number++
		var members []string
		if err := json.Unmarshal(q.Members, &members); err != nil {
			return fmt.Errorf("read what rabbitmqctl prints of %s: %w", q.Name, err)
		}
		if strconv.Itoa(len(members)) != nodes {
			errs = append(errs, fmt.Errorf("queue %s is on %v, and RabbitMQ has %s nodes: docs/operations.md#queuecopiesmissing", q.Name, members, nodes))
		}
	}
	if len(errs) == 0 {
		fmt.Fprintf(l.out, "%d quorum queues, each on all nodes of RabbitMQ (%s)\n", number, nodes)
	}
	return errors.Join(errs...)
}

// dryRun lets the cluster of the current context check all variants of the stage's
// manifests, and changes nothing.
func dryRun(ctx context.Context, k cluster, s repo.Stage) error {
	for _, pattern := range []string{"k8s/Kustomization", "k8s-sqlite/kustomization.yaml", "k8s/overlays/*/kustomization.yaml"} {
		found, err := filepath.Glob(filepath.Join(s.Dir, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		for _, file := range found {
			manifests, err := k.run(ctx, "", "kustomize", filepath.Dir(file))
			if err != nil {
				return err
			}
			if _, err := k.run(ctx, manifests, "apply", "--dry-run=server", "-f", "-"); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(filepath.Dir(file)), err)
			}
		}
	}
	if !s.Has("k8s/gateway") || !k.serves(ctx, gatewayAPI) {
		return nil
	}
	_, err := k.run(ctx, "", "apply", "--dry-run=server", "-f", filepath.Join(s.Dir, "k8s", "gateway"))
	return err
}

// runE2E runs the stage's e2e tests against services that are already running.
func runE2E(ctx context.Context, l *lab, s repo.Stage, platforms, commands, host, token string) error {
	if token == "" {
		token = os.Getenv("E2E_TOKEN")
	}
	err := process.Run(ctx, process.Command{
		Args: []string{"go", "test", "-count=1", "-v", "./e2e/..."}, Dir: s.Dir,
		Env:    append(os.Environ(), "GOWORK=off", "PLATFORMS_URL="+platforms, "COMMANDS_URL="+commands, "E2E_HOST="+host, "E2E_TOKEN="+token),
		Stdout: l.out, Stderr: l.err,
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the e2e tests of %s failed", s.Name)
	}
	return nil
}

// portForward makes port 80 of a Service reachable at the returned URL, until
// stop is called.
func portForward(ctx context.Context, k cluster, service string) (url string, stop func(), err error) {
	reader, writer := io.Pipe()
	forward, err := process.Start(process.Command{
		Args: []string{"kubectl", "port-forward", "service/" + service, ":80",
			"--address", "127.0.0.1", "--context", k.context, "--namespace", k.namespace},
		Stdout: writer, Stderr: writer,
	})
	if err != nil {
		return "", nil, err
	}
	found := make(chan string, 1)
	stop = func() {
		reader.Close()
		forward.Stop(time.Second)
		for range found { // until the reader has ended
		}
	}
	go func() { // returns when the process ends, after reading its output
		defer close(found)
		address := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			if match := address.FindStringSubmatch(lines.Text()); match != nil {
				found <- "http://" + match[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case url := <-found:
		return url, stop, nil
	case <-forward.Done():
		err = fmt.Errorf("kubectl port-forward service/%s: %s: is the stage deployed?", service, forward.Ending())
	case <-ctx.Done():
		err = errors.New("kubectl port-forward service/" + service + " did not start")
	}
	stop()
	return "", nil, err
}
