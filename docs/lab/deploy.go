package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"microcomm/docs/internal/process"
)

func deployVerb() verb {
	var o deployOptions
	v := verb{
		name:    "deploy",
		args:    "STAGE",
		summary: "puts a stage on the Kubernetes cluster of the current context",
		about: `Builds the stage's images, gets them into the cluster, creates the secrets that are
missing with generated values, applies the manifests in order and waits until all
pods are ready. A pod that does not get there is explained.

kind, minikube, k3d, Docker Desktop, Rancher Desktop and OrbStack are recognised by
the context's name. For another cluster --load names the command that takes an
image there; {image} stands for the image's name.

SQL Server's image is for amd64 only, and wants 2 GB: --sqlite leaves it out, and
PlatformService keeps its data in a SQLite file on a volume.`,
		run: func(ctx context.Context, l *lab, names []string) error { return deploy(ctx, l, o, names[0]) },
	}
	o.common(&v)
	v.flags.BoolVar(&o.sqlite, "sqlite", false, "leave SQL Server out")
	v.flags.StringVar(&o.overlay, "overlay", "", "which of final/k8s/overlays: a `NAME`")
	v.flags.StringVar(&o.load, "load", "", "the `COMMAND` that takes {image} into the cluster")
	v.flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how `LONG` the pods may take to be ready, such as 10m")
	return v
}

func undeployVerb() verb {
	var o deployOptions
	v := verb{
		name:    "undeploy",
		args:    "STAGE",
		summary: "takes a stage off the cluster again, with its data",
		about: `Deletes what is labelled as part of microcomm in the namespace, volumes included,
and the secrets that "lab deploy" made. Waits until all of it is gone.`,
		run: func(ctx context.Context, l *lab, names []string) error { return undeploy(ctx, l, o, names[0]) },
	}
	o.common(&v)
	return v
}

// deployOptions are the flags of deploy and undeploy.
type deployOptions struct {
	stage     stage
	sqlite    bool
	overlay   string
	namespace string
	load      string
	timeout   time.Duration
	yes       bool
}

// common declares the flags that deploy and undeploy share.
func (o *deployOptions) common(v *verb) {
	v.flags.StringVar(&o.namespace, "namespace", "", "the namespace, when not the context's: a `NAME`")
	v.flags.BoolVar(&o.yes, "yes", false, "do not ask before it begins")
}

// choose sets the stage.
func (o *deployOptions) choose(l *lab, name string) error {
	at, err := l.findStage(name)
	if err != nil {
		return err
	}
	o.stage = l.stages[at]
	if !o.stage.has("k8s") {
		return usageError(fmt.Sprintf("%s has no k8s folder: Kubernetes comes with 03-k8s", o.stage.name))
	}
	return nil
}

// manifests is the folder with the kustomization that is applied.
func (o deployOptions) manifests() (string, error) {
	dir := "k8s"
	switch {
	case o.stage.has("k8s/overlays"):
		dir = "k8s/overlays/local"
		if o.sqlite {
			dir = "k8s/overlays/sqlite"
		}
		if o.overlay != "" {
			dir = "k8s/overlays/" + o.overlay
		}
	case o.overlay != "":
		return "", usageError(fmt.Sprintf("%s has no overlays", o.stage.name))
	case o.sqlite && !o.stage.has("k8s-sqlite"):
		return "", usageError(fmt.Sprintf("%s has no SQL Server to leave out", o.stage.name))
	case o.sqlite:
		dir = "k8s-sqlite"
	}
	if !o.stage.has(dir) {
		return "", usageError(fmt.Sprintf("there is no %s/%s", o.stage.name, dir))
	}
	return filepath.Join(o.stage.dir, filepath.FromSlash(dir)), nil
}

func deploy(ctx context.Context, l *lab, o deployOptions, name string) error {
	if err := o.choose(l, name); err != nil {
		return err
	}
	dir, err := o.manifests()
	if err != nil {
		return err
	}
	k, err := currentCluster(ctx, o.namespace)
	if err != nil {
		return err
	}
	load, err := k.loader(o.load)
	if err != nil {
		return err
	}
	if err := confirm(l, o.yes, fmt.Sprintf("Deploy %s to %s?", o.stage.name, k)); err != nil {
		return err
	}
	manifests, err := k.run(ctx, "", "kustomize", dir)
	if err != nil {
		return err
	}
	if manifests, err = buildImages(ctx, l, o.stage, manifests, load); err != nil {
		return err
	}
	listed, err := k.run(ctx, manifests, "create", "--dry-run=client", "-o", "json", "-f", "-")
	if err != nil {
		return err
	}
	objects, err := decodeObjects(listed)
	if err != nil {
		return err
	}
	if err := createSecrets(ctx, l, k, objects); err != nil {
		return err
	}
	applied, err := k.run(ctx, manifests, "apply", "-f", "-")
	fmt.Fprint(l.err, applied)
	if err != nil {
		return portTaken(ctx, k, err)
	}
	if err := waitReady(ctx, l, k, workloadsOf(objects), o.timeout); err != nil {
		return err
	}
	return printURLs(ctx, l, k)
}

func undeploy(ctx context.Context, l *lab, o deployOptions, name string) error {
	if err := o.choose(l, name); err != nil {
		return err
	}
	k, err := currentCluster(ctx, o.namespace)
	if err != nil {
		return err
	}
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there != "" && there != o.stage.name {
		return fmt.Errorf("%s is what is deployed there: go tool lab undeploy %s", there, there)
	}
	what := []string{"-l", partOf, "--ignore-not-found", "-o", "name"}
	found, err := k.run(ctx, "", append([]string{"get", partOfKinds}, what...)...)
	if err != nil {
		return err
	}
	secrets, err := k.run(ctx, "", append([]string{"get", "secrets"}, what...)...)
	if err != nil {
		return err
	}
	names := strings.Fields(found + secrets)
	if len(names) == 0 {
		fmt.Fprintf(l.out, "Nothing of microcomm is in %s.\n", k)
		return nil
	}
	question := fmt.Sprintf("Delete %d objects from %s?", len(names), k)
	if strings.Contains(found, "persistentvolumeclaim/") {
		question = fmt.Sprintf("Delete %d objects, data included, from %s?", len(names), k)
	}
	if err := confirm(l, o.yes, question); err != nil {
		return err
	}
	// In the foreground: what a Deployment made goes before the Deployment.
	deleted, err := k.run(ctx, "", append([]string{"delete", "--ignore-not-found", "--cascade=foreground", "--timeout=3m"}, names...)...)
	fmt.Fprint(l.err, deleted)
	if err != nil {
		return err
	}
	fmt.Fprintf(l.out, "%s is gone from %s.\n", o.stage.name, k)
	return nil
}

// partOf selects what belongs to this repository's stages. Secrets made by
// hand have no such label, and stay.
const partOf = "app.kubernetes.io/part-of=microcomm"

// partOfKinds is every kind that the manifests have.
const partOfKinds = "deployments,statefulsets,jobs,services,ingresses,configmaps,persistentvolumeclaims," +
	"poddisruptionbudgets,horizontalpodautoscalers,networkpolicies"

// confirm asks on the terminal, and returns an error unless the answer is yes.
func confirm(l *lab, yes bool, question string) error {
	if yes {
		fmt.Fprintln(l.err, question, "yes")
		return nil
	}
	fmt.Fprint(l.err, question, " [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done (--yes goes on without asking)")
}

// cluster is what kubectl's current context names.
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

// run runs kubectl in the cluster's namespace, with stdin, and gives what it
// prints. The error holds what it complains of.
func (k cluster) run(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if k.context != "" {
		args = append(args, "--context", k.context)
		if args[0] != "kustomize" {
			args = append(args, "--namespace", k.namespace)
		}
	}
	return process.Output(ctx, process.Command{Args: append([]string{"kubectl"}, args...), Stdin: strings.NewReader(stdin)})
}

// deployed gives the name of the stage that runs in the namespace, or nothing.
func (k cluster) deployed(ctx context.Context) (string, error) {
	images, err := k.run(ctx, "", "get", "deployments", "-l", partOf, "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}")
	if err != nil {
		return "", err
	}
	if found := regexp.MustCompile(`microcomm/([^/ ]+)/`).FindStringSubmatch(images); found != nil {
		return found[1], nil
	}
	return "", nil
}

// loader gives the command that takes images into the cluster: {image} in it
// stands for each image's name. Empty: the cluster has Docker's images anyway.
func (k cluster) loader(wanted string) ([]string, error) {
	if wanted != "" {
		command := strings.Fields(wanted)
		if !strings.Contains(wanted, "{image}") {
			command = append(command, "{image}")
		}
		return command, nil
	}
	kind, isKind := strings.CutPrefix(k.context, "kind-")
	k3d, isK3d := strings.CutPrefix(k.context, "k3d-")
	switch {
	case isKind:
		return []string{"kind", "load", "docker-image", "--name", kind, "{image}"}, nil
	case isK3d:
		return []string{"k3d", "image", "import", "--cluster", k3d, "{image}"}, nil
	case k.context == "minikube":
		return []string{"minikube", "image", "load", "{image}"}, nil
	case slices.Contains([]string{"docker-desktop", "rancher-desktop", "orbstack"}, k.context):
		return nil, nil
	}
	return nil, fmt.Errorf("how does an image get into the cluster of context %s? Say it with --load 'COMMAND {image}'", k.context)
}

// buildImages builds the stage's images that manifests name and takes them into
// the cluster. It returns the manifests with each image under a second tag, that
// of its content: pods are replaced if, and only if, an image has changed.
func buildImages(ctx context.Context, l *lab, s stage, manifests string, load []string) (string, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return "", errors.New("docker is not installed: go tool lab doctor says how to get it")
	}
	version, err := stageVersion(ctx, l.root, s)
	if err != nil {
		return "", err
	}
	for _, image := range ownImages(s, manifests) {
		name, _, _ := strings.Cut(image, ":")
		fmt.Fprintln(l.err, "building", image)
		target := name[strings.LastIndex(name, "/")+1:]
		if err := loud(ctx, l, s.dir, "docker", "build", "--tag", image, "--target", target, "--build-arg", "VERSION="+version, "."); err != nil {
			return "", fmt.Errorf("build %s: %w", image, err)
		}
		id, err := output(ctx, "docker", "inspect", "--format", "{{.Id}}", image)
		if err != nil {
			return "", err
		}
		hash := strings.TrimPrefix(strings.TrimSpace(id), "sha256:")
		if len(hash) < 12 {
			return "", fmt.Errorf("docker gives %s the id %q", image, id)
		}
		tagged := name + ":" + hash[:12]
		if _, err := output(ctx, "docker", "tag", image, tagged); err != nil {
			return "", err
		}
		for _, each := range []string{image, tagged} {
			if load == nil {
				break
			}
			command := slices.Clone(load)
			for i := range command {
				command[i] = strings.ReplaceAll(command[i], "{image}", each)
			}
			fmt.Fprintln(l.err, "loading", each)
			if err := loud(ctx, l, s.dir, command[0], command[1:]...); err != nil {
				return "", fmt.Errorf("take %s into the cluster: %w", each, err)
			}
		}
		manifests = strings.ReplaceAll(manifests, "image: "+image+"\n", "image: "+tagged+"\n")
	}
	return manifests, nil
}

// ownImages gives the images in manifests that the stage builds, each once.
func ownImages(s stage, manifests string) []string {
	var images []string
	for _, found := range regexp.MustCompile(`(?m)^\s*(?:- )?image: (\S+)$`).FindAllStringSubmatch(manifests, -1) {
		if strings.HasPrefix(found[1], s.module()+"/") && !slices.Contains(images, found[1]) {
			images = append(images, found[1])
		}
	}
	return images
}

// stageVersion is the last commit that changed the stage, for the binaries' first
// log line. It does not change with the rest of the repository.
func stageVersion(ctx context.Context, root string, s stage) (string, error) {
	commit, err := git(ctx, root, "log", "-1", "--format=%h", "--", s.name)
	if err != nil {
		return "", err
	}
	changed, err := git(ctx, root, "status", "--porcelain", "--", s.name)
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(commit)
	if version == "" || changed != "" {
		version += "+changes"
	}
	return version, nil
}

// loud runs a command that takes a while. On a terminal what it prints is seen;
// elsewhere only its end, and only when it fails.
func loud(ctx context.Context, l *lab, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	c := process.Command{Args: append([]string{name}, args...), Dir: dir}
	if isTerminal(l.err) {
		c.Stdout, c.Stderr = l.err, l.err
	}
	return process.Run(ctx, c)
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return process.Output(ctx, process.Command{Args: append([]string{name}, args...)})
}

// object is what deploy reads of a Kubernetes object.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     json.RawMessage
}

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

// secretKeys gives the keys of each Secret that the objects read values of.
func secretKeys(objects []object) (map[string][]string, error) {
	keys := map[string][]string{}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, each := range value {
				walk(each)
			}
		case map[string]any:
			if ref, ok := value["secretKeyRef"].(map[string]any); ok {
				name, _ := ref["name"].(string)
				key, _ := ref["key"].(string)
				if !slices.Contains(keys[name], key) {
					keys[name] = append(keys[name], key)
				}
			}
			for _, each := range value {
				walk(each)
			}
		}
	}
	for _, o := range objects {
		if len(o.Spec) == 0 {
			continue
		}
		var spec any
		if err := json.Unmarshal(o.Spec, &spec); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", o.Kind, o.Metadata.Name, err)
		}
		walk(spec)
	}
	return keys, nil
}

// createSecrets makes the secrets that objects need and the namespace lacks.
// The values go through a pipe: a command line could be seen by others.
func createSecrets(ctx context.Context, l *lab, k cluster, objects []object) error {
	keys, err := secretKeys(objects)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(keys) {
		out, err := k.run(ctx, "", "get", "secret", name, "--ignore-not-found", "-o", "json")
		if err != nil {
			return err
		}
		if out != "" {
			var there struct{ Data map[string]string }
			if err := json.Unmarshal([]byte(out), &there); err != nil {
				return fmt.Errorf("read secret %s: %w", name, err)
			}
			for _, key := range keys[name] {
				if there.Data[key] == "" {
					return fmt.Errorf("secret %s has no key %s: kubectl delete secret %s, and deploy again to have it made",
						name, key, name)
				}
			}
			continue
		}
		values := map[string]string{}
		for _, key := range keys[name] {
			values[key] = newPassword()
		}
		secret, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "stringData": values,
			"metadata": map[string]any{"name": name, "labels": map[string]string{
				"app.kubernetes.io/part-of": "microcomm", "app.kubernetes.io/managed-by": "lab"}},
		})
		if err != nil {
			return err
		}
		if _, err := k.run(ctx, string(secret), "create", "-f", "-"); err != nil {
			return err
		}
		fmt.Fprintf(l.err, "secret/%s created with a new password\n", name)
	}
	return nil
}

// newPassword has 128 random bits, the four kinds of characters that SQL Server
// asks for, and none that means something in a URL.
func newPassword() string {
	random := make([]byte, 16)
	rand.Read(random) // never fails
	return "Mc-" + hex.EncodeToString(random) + "0"
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// portTaken explains the error of an apply that wants a node port of somebody else's.
func portTaken(ctx context.Context, k cluster, err error) error {
	found := regexp.MustCompile(`The Service "([^"]+)" is invalid: .*nodePort: Invalid value: (\d+): provided port is already allocated`).
		FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	owner := "another Service"
	out, listErr := k.run(ctx, "", "get", "services", "--all-namespaces", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{range .spec.ports[*]} {.nodePort}{end}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if listErr == nil && slices.Contains(fields[1:], found[2]) {
			owner = "Service " + fields[0]
		}
	}
	return fmt.Errorf("port %s of the node, which %s asks for, is taken by %s: delete that one, or change nodePort in the manifest",
		found[2], found[1], owner)
}

// printURLs says how to reach what was deployed.
func printURLs(ctx context.Context, l *lab, k cluster) error {
	port, err := k.run(ctx, "", "get", "service", "platformnpservice-srv", "--ignore-not-found",
		"-o", "jsonpath={.spec.ports[0].nodePort}")
	if err != nil {
		return err
	}
	fmt.Fprintln(l.out)
	if port != "" {
		host := "localhost"
		switch {
		case k.context == "minikube":
			out, err := output(ctx, "minikube", "ip")
			if err == nil {
				host = strings.TrimSpace(out)
			}
		case !slices.Contains([]string{"docker-desktop", "rancher-desktop", "orbstack"}, k.context):
			out, err := k.run(ctx, "", "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
			if err == nil && out != "" {
				host = out
			}
		}
		fmt.Fprintf(l.out, "NodePort      http://%s:%s/api/platforms\n", host, port)
	}
	ingress, err := k.run(ctx, "", "get", "ingress", "ingress-srv", "--ignore-not-found", "-o",
		"jsonpath={.spec.rules[0].host} {.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}")
	if err != nil {
		return err
	}
	if fields := strings.Fields(ingress); len(fields) == 2 {
		fmt.Fprintf(l.out, "Ingress       curl -H 'Host: %s' http://%s/api/platforms\n", fields[0], fields[1])
	} else if len(fields) == 1 {
		fmt.Fprintln(l.out, "Ingress       no controller of class nginx has taken it up: docs/kubernetes.md says how to get one")
	}
	fmt.Fprintln(l.out, "from anywhere kubectl port-forward service/platforms-clusterip-srv 5000:80")
	fmt.Fprintln(l.out, "              kubectl port-forward service/commands-clusterip-srv 6000:80")
	return nil
}
