package manifests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A namespace that runs no pod: only what the API server says counts here.
const namespace = `
apiVersion: v1
kind: Namespace
metadata:
  name: %[1]s
---
apiVersion: v1
kind: ResourceQuota
metadata:
  name: no-pods
  namespace: %[1]s
spec:
  hard:
    pods: "0"
`

// TestVariantsReplaceEachOther, as the API server itself sees it. It runs on the
// cluster of the kubectl context KUBE_CONTEXT, in namespaces of its own.
func TestVariantsReplaceEachOtherOnCluster(t *testing.T) {
	kubeContext := os.Getenv("KUBE_CONTEXT")
	if kubeContext == "" {
		t.Skip("KUBE_CONTEXT names no cluster to try the manifests on")
	}
	kubectl := func(ctx context.Context, stdin string, args ...string) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "kubectl", append(args, "--context", kubeContext)...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	variants := map[string]string{}
	for _, s := range stages(t) {
		for _, dir := range s.variants(t) {
			built, err := build(dir)
			if err != nil {
				t.Fatal(err)
			}
			variants[dir] = string(built)
		}
	}
	number := 0
	for there, old := range variants {
		number++
		name := fmt.Sprintf("microcomm-replace-%d-%d", os.Getpid(), number)
		t.Cleanup(func() {
			if err := kubectl(context.Background(), "", "delete", "namespace", name, "--ignore-not-found", "--wait=false"); err != nil {
				t.Error(err)
			}
		})
		if err := kubectl(t.Context(), fmt.Sprintf(namespace, name), "create", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		if err := kubectl(t.Context(), old, "apply", "--namespace", name, "-f", "-"); err != nil {
			t.Fatalf("%s: %v", there, err)
		}
		for applied, manifests := range variants {
			if err := kubectl(t.Context(), manifests, "apply", "--namespace", name, "--dry-run=server", "-f", "-"); err != nil {
				t.Errorf("%s over %s: %v", applied, there, err)
			}
		}
	}
}
