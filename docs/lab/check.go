package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

func checkVerb() verb {
	return verb{
		name: "check",
		args: "STAGE (--platforms-url URL [--commands-url URL] [--host NAME] | --cluster [--namespace NAME])",
		help: `tries a stage that runs somewhere

Runs the stage's e2e tests against the services at the URLs. --host is the Host
header to send, for an Ingress that is reached by its address. --cluster reaches
the services of the current kubectl context by port-forwards instead.`,
		run: check,
	}
}

func check(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	platforms := flags.String("platforms-url", "", "")
	commands := flags.String("commands-url", "", "")
	host := flags.String("host", "", "")
	inCluster := flags.Bool("cluster", false, "")
	namespace := flags.String("namespace", "", "")
	flags.SetOutput(io.Discard)
	names, err := parseFlags(flags, args)
	if err != nil {
		return err
	}
	if len(names) != 1 || (*platforms == "") == !*inCluster {
		return usageError("such as: go tool lab check 06 --platforms-url http://localhost:5000 --commands-url http://localhost:6000")
	}
	stages, err := listStages(l.root)
	if err != nil {
		return err
	}
	i, err := findStage(stages, names[0])
	if err != nil {
		return err
	}
	if *inCluster {
		k, err := currentCluster(ctx, *namespace)
		if err != nil {
			return err
		}
		return e2eOnCluster(ctx, l, k, stages[i])
	}
	return runE2E(ctx, l, stages[i], *platforms, *commands, *host)
}

// e2eOnCluster runs the stage's e2e tests against the services in the cluster,
// through port-forwards.
func e2eOnCluster(ctx context.Context, l *lab, k cluster, s stage) error {
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there != s.name {
		return fmt.Errorf("%s is not deployed to %s: go tool lab deploy %s", s.name, k, s.name)
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
	return runE2E(ctx, l, s, platforms, commands, "")
}

// dryRun has the cluster of the current context check the stage's manifests,
// all variants of them, without keeping anything.
func dryRun(ctx context.Context, k cluster, s stage) error {
	for _, pattern := range []string{"k8s/Kustomization", "k8s-sqlite/kustomization.yaml", "k8s/overlays/*/kustomization.yaml"} {
		found, err := filepath.Glob(filepath.Join(s.dir, filepath.FromSlash(pattern)))
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
	return nil
}

// runE2E runs the stage's e2e tests against services that run already.
func runE2E(ctx context.Context, l *lab, s stage, platforms, commands, host string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "./e2e/...")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "PLATFORMS_URL="+platforms, "COMMANDS_URL="+commands, "E2E_HOST="+host)
	cmd.Stdout, cmd.Stderr = l.out, l.err
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s does not do all that it should", s.name)
	}
	return nil
}

// portForward makes port 80 of a Service reachable at the returned URL, until
// stop is called.
func portForward(ctx context.Context, k cluster, service string) (url string, stop func(), err error) {
	reader, writer := io.Pipe()
	forward, err := startProcess("kubectl port-forward", exec.Command("kubectl", "port-forward", "service/"+service, ":80",
		"--address", "127.0.0.1", "--context", k.context, "--namespace", k.namespace), writer)
	if err != nil {
		return "", nil, err
	}
	found := make(chan string, 1)
	stop = func() {
		reader.Close()
		forward.stop(time.Second)
		for range found { // until the reader has ended
		}
	}
	go func() { // ends with the process, whose output it reads to the end
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
	case <-forward.done:
		err = fmt.Errorf("kubectl port-forward service/%s: %s: is the stage deployed?", service, forward.ending())
	case <-ctx.Done():
		err = errors.New("kubectl port-forward service/" + service + " does not begin")
	}
	stop()
	return "", nil, err
}
