//go:build exercise

package manifests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// onCluster runs kubectl where chapter 03 has been deployed to.
func onCluster(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--context", os.Getenv("KUBE_CONTEXT"), "--namespace", os.Getenv("KUBE_NAMESPACE")}, args...)
	out, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// TestNoRequestIsLost restarts CommandsService while requests come, by the API
// server's proxy to the Service. It puts the chapter's Deployment back at the end.
func TestNoRequestIsLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	stage := os.Getenv("EXERCISE_STAGE")
	must := func(args ...string) {
		t.Helper()
		if out, err := onCluster(ctx, args...); err != nil {
			t.Fatalf("kubectl %s: %s", strings.Join(args, " "), out)
		}
	}
	t.Cleanup(func() {
		if out, err := onCluster(context.Background(), "replace", "-f", filepath.Join(stage, "k8s/commands-depl.yml")); err != nil {
			t.Errorf("put the chapter's Deployment back: %s", out)
		}
	})
	must("apply", "-f", filepath.Join(stage, "exercises/rollout-without-loss/commands-depl.yml"))
	must("rollout", "status", "deployment/commands-depl", "--timeout=90s")

	path := "/api/v1/namespaces/" + os.Getenv("KUBE_NAMESPACE") + "/services/commands-clusterip-srv:commandservice/proxy/api/c/platforms"
	requesting, stop := context.WithCancel(ctx)
	var requests, lost int
	var last string
	var load sync.WaitGroup
	load.Go(func() {
		for requesting.Err() == nil {
			out, err := onCluster(ctx, "get", "--raw", path)
			requests++
			if err != nil {
				lost++
				last = out
			}
		}
	})
	defer load.Wait()
	defer stop()
	must("rollout", "restart", "deployment/commands-depl")
	must("rollout", "status", "deployment/commands-depl", "--timeout=90s")
	// The old pod may still be ending: its requests count too.
	must("wait", "--for=delete", "pod", "-l", "app=commandservice,pod-template-hash!="+newest(t, ctx), "--timeout=60s")
	stop()
	load.Wait()
	if requests < 10 || lost > 0 {
		t.Errorf("of %d requests during the update, %d were lost; the last one: %s", requests, lost, last)
	}
}

// newest returns the label that the pods of the newest version have.
func newest(t *testing.T, ctx context.Context) string {
	t.Helper()
	out, err := onCluster(ctx, "get", "pods", "-l", "app=commandservice", "--sort-by=.metadata.creationTimestamp",
		"-o", "jsonpath={.items[-1:].metadata.labels.pod-template-hash}")
	if err != nil {
		t.Fatal(out)
	}
	return out
}
