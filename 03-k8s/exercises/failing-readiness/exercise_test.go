//go:build exercise

package manifests

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// repaired reads the exercise's file, and of it the Deployment and its container.
func repaired(t *testing.T) (objects []metav1.Object, deployment *appsv1.Deployment, container corev1.Container) {
	t.Helper()
	objects = read(t, "exercises/failing-readiness/platforms-depl.yml")
	for _, o := range objects {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == "platforms-depl" && len(d.Spec.Template.Spec.Containers) == 1 {
			return objects, d, d.Spec.Template.Spec.Containers[0]
		}
	}
	t.Fatal("the file has no Deployment platforms-depl with one container any more")
	return nil, nil, corev1.Container{}
}

func read(t *testing.T, file string) []metav1.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("EXERCISE_STAGE"), file))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestTheProbesReachTheProcess(t *testing.T) {
	_, _, container := repaired(t)
	address := ""
	for _, env := range container.Env {
		if env.Name == "PLATFORMS_HTTP_ADDR" {
			address = env.Value
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatalf("PLATFORMS_HTTP_ADDR is %q: the service needs an address with a port", address)
	}
	if host != "" && host != "0.0.0.0" && host != "[::]" && host != "::" {
		t.Errorf("PLATFORMS_HTTP_ADDR is %q: nothing outside the pod can connect to that, and the kubelet is outside", address)
	}
	if len(container.Ports) != 1 || container.Ports[0].Name != "http" || port != "8080" || container.Ports[0].ContainerPort != 8080 {
		t.Errorf("the process listens on port %s and the manifest says %v: want http, 8080, in both (a port below 1024 is not for a user that is not root)", port, container.Ports)
	}
}

func TestReadinessAsksWhatTheServiceOffers(t *testing.T) {
	_, _, container := repaired(t)
	for name, probe := range map[string]struct {
		probe *corev1.Probe
		want  string
	}{
		"readiness": {container.ReadinessProbe, "/readyz"},
		"liveness":  {container.LivenessProbe, "/livez"},
		"startup":   {container.StartupProbe, "/livez"},
	} {
		if probe.probe == nil || probe.probe.HTTPGet == nil {
			t.Errorf("the %s probe is gone: without it the cluster does not know", name)
			continue
		}
		if path := probe.probe.HTTPGet.Path; path != probe.want {
			t.Errorf("the %s probe asks for %s; it has to ask for %s", name, path, probe.want)
		}
		if port := probe.probe.HTTPGet.Port.String(); port != "http" {
			t.Errorf("the %s probe asks on port %s, want http", name, port)
		}
	}
}

func TestTheServiceFindsThePods(t *testing.T) {
	objects, _, _ := repaired(t)
	own := stage{name: "03-k8s", dir: os.Getenv("EXERCISE_STAGE")}
	for _, problem := range check(own, append(read(t, "k8s/commands-depl.yml"), objects...)) {
		if strings.Contains(problem, "selector") || strings.Contains(problem, "is not the name of a container port") {
			t.Error(problem)
		}
	}
	var commands *appsv1.Deployment
	for _, o := range read(t, "k8s/commands-depl.yml") {
		if d, ok := o.(*appsv1.Deployment); ok {
			commands = d
		}
	}
	for _, o := range objects {
		service, ok := o.(*corev1.Service)
		if ok && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(commands.Spec.Template.Labels)) {
			t.Errorf("the selector of the Service %s, %v, finds the pods of CommandsService, too", service.Name, service.Spec.Selector)
		}
	}
	problems, err := refused(read(t, "k8s/platforms-depl.yml"), objects)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("the cluster would refuse the file, since the Deployment is there already: %s", problem)
	}
}
