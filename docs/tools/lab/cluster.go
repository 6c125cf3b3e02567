package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
)

// cluster is the cluster of kubectl's current context.
type cluster struct {
	context   string
	server    string
	namespace string
}

func (k cluster) String() string {
	return fmt.Sprintf("context %s (%s), namespace %s", k.context, k.server, k.namespace)
}

// currentCluster finds the current context, and that its cluster answers.
func currentCluster(ctx context.Context, namespace string) (cluster, error) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return cluster{}, errors.New("kubectl is not installed: go tool lab doctor says how to get it")
	}
	var k cluster
	out, err := k.run(ctx, "", "config", "view", "--minify", "-o",
		`jsonpath={.current-context}{"\n"}{.clusters[0].cluster.server}{"\n"}{.contexts[0].context.namespace}`)
	if err != nil {
		return cluster{}, fmt.Errorf("kubectl has no current context: start a cluster, or choose one with: kubectl config use-context NAME")
	}
	fields := append(strings.Split(out, "\n"), "", "")
	k = cluster{context: fields[0], server: fields[1], namespace: fields[2]}
	if namespace != "" {
		k.namespace = namespace
	}
	if k.namespace == "" {
		k.namespace = "default"
	}
	if _, err := k.run(ctx, "", "get", "namespace", k.namespace, "--request-timeout=10s"); err != nil {
		if strings.Contains(err.Error(), "NotFound") {
			return cluster{}, fmt.Errorf("there is no namespace %s: kubectl create namespace %s", k.namespace, k.namespace)
		}
		return cluster{}, fmt.Errorf("the cluster of context %s does not answer: %w", k.context, err)
	}
	return k, nil
}

// run runs kubectl in the cluster's namespace, with stdin, and returns its output. The
// error includes kubectl's own message.
func (k cluster) run(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if k.context != "" {
		where := []string{"--context", k.context}
		if args[0] != "kustomize" {
			where = append(where, "--namespace", k.namespace)
		}
		end := len(args)
		if at := slices.Index(args, "--"); at >= 0 {
			end = at // the rest is for the program that exec runs
		}
		args = slices.Insert(slices.Clone(args), end, where...)
	}
	return process.Output(ctx, process.Command{Args: append([]string{"kubectl"}, args...), Stdin: strings.NewReader(stdin)})
}

// deployed returns the name of the stage that runs in the namespace, or "".
func (k cluster) deployed(ctx context.Context) (string, error) {
	images, err := k.run(ctx, "", "get", "deployments", "-l", partOf, "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}")
	if err != nil {
		return "", err
	}
	if found := regexp.MustCompile(`(?:^| )microcomm/([^/ ]+)/`).FindStringSubmatch(images); found != nil {
		return found[1], nil
	}
	return "", nil
}

// objects returns the names of the objects of those kinds that are part of microcomm in
// the namespace, such as service/rabbitmq-loadbalancer.
func (k cluster) objects(ctx context.Context, kinds string) ([]string, error) {
	out, err := k.run(ctx, "", "get", kinds, "-l", partOf, "--ignore-not-found", "-o", "name")
	if err != nil {
		return nil, err
	}
	names := strings.Fields(out)
	for i, name := range names { // without the API group: deployment.apps/platforms-depl
		kind, name, _ := strings.Cut(name, "/")
		kind, _, _ = strings.Cut(kind, ".")
		names[i] = kind + "/" + name
	}
	return names, nil
}

// delete deletes objects, with everything created from them, and waits until they are
// gone.
func (k cluster) delete(ctx context.Context, l *lab, names []string) error {
	if len(names) == 0 {
		return nil
	}
	// In the foreground: the pods of a Deployment are deleted before the Deployment.
	deleted, err := k.run(ctx, "", append([]string{"delete", "--ignore-not-found", "--cascade=foreground", "--timeout=3m"}, names...)...)
	fmt.Fprint(l.err, deleted)
	return err
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return process.Output(ctx, process.Command{Args: append([]string{name}, args...)})
}

// object holds the parts of a Kubernetes object that deploy reads.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     json.RawMessage
}

// name is the object's name as kubectl writes it: kind/name.
func (o object) name() string { return strings.ToLower(o.Kind) + "/" + o.Metadata.Name }

// decodeObjects reads a stream of objects, and of lists of objects.
func decodeObjects(stream string) ([]object, error) {
	var objects []object
	decoder := json.NewDecoder(strings.NewReader(stream))
	for {
		var one struct {
			object
			Items []object
		}
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what kubectl prints: %w", err)
		}
		if one.Items != nil {
			objects = append(objects, one.Items...)
		} else {
			objects = append(objects, one.object)
		}
	}
}

// partOf selects the objects of this repository's stages. Secrets created by hand have
// no such label, and stay.
const partOf = "app.kubernetes.io/part-of=microcomm"

// partOfKinds is every kind that the manifests have.
const partOfKinds = "deployments,statefulsets,jobs,services,ingresses,configmaps,persistentvolumeclaims," +
	"poddisruptionbudgets,horizontalpodautoscalers,networkpolicies"
