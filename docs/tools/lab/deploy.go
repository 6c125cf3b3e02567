package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/repo"
)

func deployVerb() verb {
	var o deployOptions
	v := verb{
		name:    "deploy",
		args:    "STAGE",
		summary: "deploys a stage to the Kubernetes cluster of the current context",
		about: `Builds the stage's images, gets them into the cluster, creates the secrets that are
missing with generated values, applies the manifests in order and waits until all
pods are ready. If a pod cannot become ready, it explains why.

Objects that another stage, or another variant of this one, has left in the namespace and
that this one does not have are listed and deleted first. Volumes and secrets stay.

kind, minikube, k3d, Docker Desktop, Rancher Desktop and OrbStack are recognised by
the context's name. For another cluster --load names the command that loads an
image into it; {image} stands for the image's name.

--gateway deploys the HTTPRoute instead of the Ingress, for a cluster with the
Gateway API.

--image-registry and --version build the images as R/platformservice:V and so on, push
them with docker push (or what --load says), and deploy those. R is a registry you have
logged in to, with a folder: ghcr.io/you/microcomm.

SQL Server's image is for amd64 only, and needs 2 GB: --sqlite leaves it out, and
PlatformService keeps its data in a SQLite file on a volume.`,
		run: func(ctx context.Context, l *lab, names []string) error { return deploy(ctx, l, o, names[0]) },
	}
	o.common(&v)
	v.flags.BoolVar(&o.sqlite, "sqlite", false, "leave SQL Server out")
	v.flags.StringVar(&o.overlay, "overlay", "", "the `NAME` of one of final/k8s/overlays")
	v.flags.BoolVar(&o.gateway, "gateway", false, "the HTTPRoute and its Gateway, and no Ingress")
	v.flags.StringVar(&o.load, "load", "", "the `COMMAND` that loads {image} into the cluster")
	v.flags.StringVar(&o.registry, "image-registry", "", "push the images to the registry `R`, and use them from there")
	v.flags.StringVar(&o.version, "version", "", "the images' `VERSION`, with --image-registry")
	v.flags.BoolVar(&o.keep, "keep", false, "refuse to delete what another stage has left there")
	v.flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "the `TIME` that the pods may take to be ready, such as 10m")
	return v
}

// deployOptions are the flags of deploy and undeploy.
type deployOptions struct {
	stage     repo.Stage
	sqlite    bool
	gateway   bool
	overlay   string
	namespace string
	load      string
	registry  string
	version   string
	timeout   time.Duration
	keep      bool
	yes       bool
}

// common declares the flags that deploy and undeploy share.
func (o *deployOptions) common(v *verb) {
	v.flags.StringVar(&o.namespace, "namespace", "", "the `NAME` of the namespace, when not the context's")
	v.flags.BoolVar(&o.yes, "yes", false, "do not ask for confirmation")
}

// choose sets the stage.
func (o *deployOptions) choose(l *lab, name string) error {
	at, err := l.findStage(name)
	if err != nil {
		return err
	}
	o.stage = l.stages[at]
	if !o.stage.Has("k8s") {
		return usageError(fmt.Sprintf("%s has no k8s folder: Kubernetes comes with 03-k8s", o.stage.Name))
	}
	return nil
}

// manifests is the folder with the kustomization that is applied.
func (o deployOptions) manifests() (string, error) {
	dir := "k8s"
	switch {
	case o.stage.Has("k8s/overlays"):
		dir = "k8s/overlays/local"
		if o.sqlite {
			dir = "k8s/overlays/sqlite"
		}
		if o.overlay != "" {
			dir = "k8s/overlays/" + o.overlay
		}
	case o.overlay != "":
		return "", usageError(fmt.Sprintf("%s has no overlays", o.stage.Name))
	case o.sqlite && !o.stage.Has("k8s-sqlite"):
		return "", usageError(fmt.Sprintf("%s has no SQL Server to leave out", o.stage.Name))
	case o.sqlite:
		dir = "k8s-sqlite"
	}
	if !o.stage.Has(dir) {
		return "", usageError(fmt.Sprintf("there is no %s/%s", o.stage.Name, dir))
	}
	return filepath.Join(o.stage.Dir, filepath.FromSlash(dir)), nil
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
	images, err := o.imagePlan(k)
	if err != nil {
		return err
	}
	manifests, err := k.run(ctx, "", "kustomize", dir)
	if err != nil {
		return err
	}
	if o.gateway {
		if !k.serves(ctx, gatewayAPI) {
			return fmt.Errorf("%s does not have the Gateway API: docs/kubernetes.md says how to get it", k)
		}
		if manifests, err = byGateway(o.stage, manifests); err != nil {
			return err
		}
	}
	listed, err := k.run(ctx, manifests, "create", "--dry-run=client", "-o", "json", "-f", "-")
	if err != nil {
		return err
	}
	objects, err := decodeObjects(listed)
	if err != nil {
		return err
	}
	there, err := k.objects(ctx, partOfKinds)
	if err != nil {
		return err
	}
	if err := shrunk(there, objects); err != nil {
		return err
	}
	old := leftOver(there, objects)
	if err := confirmReplace(ctx, l, k, o, old); err != nil {
		return err
	}
	if manifests, err = buildImages(ctx, l, o.stage, manifests, images); err != nil {
		return err
	}
	// A Job runs once and cannot be changed. To run again, it is deleted first.
	jobs := slices.DeleteFunc(there, func(name string) bool { return !isJob(name) || slices.Contains(old, name) })
	if err := k.delete(ctx, l, slices.Concat(old, jobs)); err != nil {
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
	if err := printURLs(ctx, l, k); err != nil {
		return err
	}
	printScaling(ctx, l, k, objects)
	return nil
}

// printScaling says so if objects should scale with the load and the cluster does not
// measure it.
func printScaling(ctx context.Context, l *lab, k cluster, objects []object) {
	scales := slices.ContainsFunc(objects, func(o object) bool { return o.Kind == "HorizontalPodAutoscaler" })
	if scales && !k.serves(ctx, metricsAPI) {
		fmt.Fprintln(l.out, "autoscaling   this cluster has no metrics-server: replicas stay at the minimum, whatever the load (docs/kubernetes.md)")
	}
}

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
	return errors.New("nothing was done (--yes continues without asking)")
}

// portTaken explains the error of an apply whose node port another service has.
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

// printURLs prints how to reach the deployed services.
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
	in, err := k.entrance(ctx)
	if err != nil {
		return err
	}
	switch {
	case in.url != "":
		fmt.Fprintf(l.out, "%-13s curl -H 'Host: %s' %s/api/platforms\n", in.kind, in.host, in.url)
	case in.kind != "":
		fmt.Fprintf(l.out, "%-13s it has no address: is there a controller of class nginx? docs/kubernetes.md says how to get one\n", in.kind)
	}
	fmt.Fprintln(l.out, "from anywhere kubectl port-forward service/platforms-clusterip-srv 5000:80")
	fmt.Fprintln(l.out, "              kubectl port-forward service/commands-clusterip-srv 6000:80")
	return nil
}
