//go:build exercise

package manifests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onCluster runs kubectl where chapter 03 has been deployed to.
func onCluster(t *testing.T, limit time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args = append([]string{"--context", os.Getenv("KUBE_CONTEXT"), "--namespace", os.Getenv("KUBE_NAMESPACE")}, args...)
	out, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// TestThePodBecomesReady applies the file over the chapter's Deployment, which it
// puts back at the end.
func TestThePodBecomesReady(t *testing.T) {
	stage := os.Getenv("EXERCISE_STAGE")
	t.Cleanup(func() {
		if out, err := onCluster(t, time.Minute, "apply", "-f", filepath.Join(stage, "k8s/platforms-depl.yml")); err != nil {
			t.Errorf("put the chapter's Deployment back: %s", out)
		}
	})
	file := filepath.Join(stage, "exercises/failing-readiness/platforms-depl.yml")
	if out, err := onCluster(t, time.Minute, "apply", "-f", file); err != nil {
		t.Fatalf("the cluster does not take the file: %s", out)
	}
	if out, err := onCluster(t, 2*time.Minute, "rollout", "status", "deployment/platforms-depl", "--timeout=60s"); err != nil {
		events, _ := onCluster(t, time.Minute, "get", "events", "--field-selector=reason=Unhealthy", "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}")
		t.Fatalf("the new pod does not become ready within a minute: %s\nwhat the probes got:\n%s", out, events)
	}
	const ready = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses}"
	out, err := onCluster(t, time.Minute, "get", "endpointslices", "-l", "kubernetes.io/service-name=platforms-clusterip-srv", "-o", ready)
	if err != nil || out == "" {
		t.Errorf("the pod is ready, and the Service platforms-clusterip-srv has no endpoint: its selector finds nothing %s", out)
	}
}
