//go:build exercise

package manifests

import (
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// fromFile reads the exercise's file.
func fromFile(t *testing.T) []metav1.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("EXERCISE_STAGE"), "exercises/rollout-without-loss/commands-depl.yml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// updated returns the Deployment of the exercise's file.
func updated(t *testing.T) (appsv1.DeploymentSpec, corev1.Container) {
	t.Helper()
	for _, o := range fromFile(t) {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == "commands-depl" && len(d.Spec.Template.Spec.Containers) == 1 {
			return d.Spec, d.Spec.Template.Spec.Containers[0]
		}
	}
	t.Fatal("the file has no Deployment commands-depl with one container any more")
	return appsv1.DeploymentSpec{}, corev1.Container{}
}

// The defaults of maxUnavailable and maxSurge are 25 %: of one replica that is
// none down, since Kubernetes rounds it down, and one more, since it rounds up.
// https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
func TestThereIsAlwaysAPod(t *testing.T) {
	spec, _ := updated(t)
	if spec.Replicas != nil && *spec.Replicas != 1 {
		t.Errorf("replicas is %d, want 1: each has a database of its own", *spec.Replicas)
	}
	if spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		t.Fatal("strategy Recreate ends the old pod before it starts the new one")
	}
	unavailable, surge := 0, 1
	if rolling := spec.Strategy.RollingUpdate; rolling != nil {
		unavailable = scaled(t, rolling.MaxUnavailable, unavailable, false)
		surge = scaled(t, rolling.MaxSurge, surge, true)
	}
	if unavailable != 0 || surge < 1 {
		t.Errorf("of one pod, %d may be away during the update, and %d may be there in addition: want 0 and 1", unavailable, surge)
	}
}

func scaled(t *testing.T, value *intstr.IntOrString, fallback int, up bool) int {
	t.Helper()
	if value == nil {
		return fallback
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, 1, up)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNoRequestBeforeThePodIsReady(t *testing.T) {
	_, container := updated(t)
	probe := container.ReadinessProbe
	if probe == nil || probe.HTTPGet == nil {
		t.Fatal("without a readiness probe a pod gets requests as soon as its process has been started")
	}
	if probe.HTTPGet.Path != "/readyz" || probe.HTTPGet.Port.String() != "http" {
		t.Errorf("the readiness probe asks for %s on port %s: want /readyz, which says whether it can serve, on http", probe.HTTPGet.Path, probe.HTTPGet.Port.String())
	}
	for _, o := range fromFile(t) {
		if service, ok := o.(*corev1.Service); ok && service.Spec.PublishNotReadyAddresses {
			t.Errorf("the Service %s has publishNotReadyAddresses: it sends requests to pods that are not ready", service.Name)
		}
	}
	if container.LivenessProbe == nil || container.LivenessProbe.HTTPGet == nil || container.LivenessProbe.HTTPGet.Path != "/livez" {
		t.Error("the liveness probe has to stay as it is")
	}
}

func TestAPodThatEndsFinishesItsRequests(t *testing.T) {
	spec, container := updated(t)
	if container.Lifecycle == nil || container.Lifecycle.PreStop == nil || container.Lifecycle.PreStop.Sleep == nil {
		t.Fatal("SIGTERM comes while requests still do: nothing delays it (lifecycle.preStop.sleep)")
	}
	sleep := container.Lifecycle.PreStop.Sleep.Seconds
	if sleep < 2 {
		t.Errorf("preStop sleeps for %d s: it takes some seconds until every node has heard", sleep)
	}
	grace := int64(30) // the default
	if seconds := spec.Template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = *seconds
	}
	if grace < sleep+stopLimit {
		t.Errorf("terminationGracePeriodSeconds is %d: SIGKILL comes before preStop (%d s) and the service (up to %d s) are done", grace, sleep, stopLimit)
	}
}
